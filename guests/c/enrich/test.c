// The Channel as the function it is, and with it the JSON reader.
#include "check.h"
#include "json.h"

static saf_answer enrich(const char *data) {
  return saf_handle(&(saf_event){.subject = SAF("a"), .data = {data, strlen(data)}});
}

static void an_object_gains_a_field_in_normal_form(void) {
  static const char *cases[][2] = {
      {"{}", "{\"enriched\":true}"},
      {" {\"z\": 1,\n \"a\": [null, 1.50, \"é\", {}, []]} ", "{\"z\":1,\"a\":[null,1.5,\"é\",{},[]],\"enriched\":true}"},
      {"{\"enriched\": false, \"b\": 2}", "{\"enriched\":true,\"b\":2}"},
      {"{\"a\": true, \"b\": false, \"a\": {\"x\": [1, 2]}}", "{\"a\":{\"x\":[1,2]},\"b\":false,\"enriched\":true}"},
      {"{\"o\": {\"a\": \"long\", \"b\": 2, \"a\": 1, \"b\": 22}}", "{\"o\":{\"a\":1,\"b\":22},\"enriched\":true}"},
      {"{\"\\u0061\": 1, \"a\": 2}", "{\"a\":2,\"enriched\":true}"},
      {"{\"s\": \"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u001f\\u00e9\\ud83d\\ude00<&>\"}",
       "{\"s\":\"\\\"\\\\/\\b\\f\\n\\r\\t\\u001fé😀<&>\",\"enriched\":true}"},
      {"{\"n\": [0, -1, 18446744073709551615, -9223372036854775808]}",
       "{\"n\":[0,-1,18446744073709551615,-9223372036854775808],\"enriched\":true}"},
      {"{\"n\": [-0, 1.0, 1e2, 0.1, 100000e-10, 1e15, 1e16, 1.5e-5, 1.5e-6, 1e-6]}",
       "{\"n\":[-0.0,1.0,100.0,0.1,0.00001,1000000000000000.0,1e+16,0.000015,1.5e-6,1e-6],\"enriched\":true}"},
      // A power of two, and numbers below the normal ones.
      {"{\"n\": [8.263199609878108e+121, 3.39519326554e-313, 2.2250738585072014e-308]}",
       "{\"n\":[8.263199609878108e+121,3.39519326554e-313,2.2250738585072014e-308],\"enriched\":true}"},
      {"{\"n\": [18446744073709551616, 1.7976931348623157e308, 5e-324, 1e-400, 0.1000000000000000055]}",
       "{\"n\":[1.8446744073709552e+19,1.7976931348623157e+308,5e-324,0.0,0.1],\"enriched\":true}"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    saf_answer answer = enrich(cases[i][0]);
    check(answer.kind == SAF_DONE && answer.emission_count == 1);
    if (answer.kind == SAF_DONE) check_text(answer.emissions[0].data, cases[i][1]);
  }
}

static void anything_else_is_rejected(void) {
  static const char *cases[] = {
      "", "[]", "1", "null", "{", "{} {}", "hello", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{a:1}", "{\"a\":01}",
      "{\"a\":1.}", "{\"a\":-}", "{\"a\":.5}", "{\"a\":1e}", "{\"a\":+1}", "{\"a\":1e400}", "{\"a\":\"\\x\"}",
      "{\"a\":\"\\u12\"}", "{\"a\":\"\\ud800\"}", "{\"a\":\"\\ud800\\u0041\"}", "{\"a\":\"\n\"}", "{\"a\":\"\xff\"}",
      "{\"a\":\"\xed\xa0\x80\"}", "{\"a\":\"", "{\"a\":tru}", "{\"a\":[1 2]}", "{\"a\":[1,]}", "{\"a\":1 \"b\":2}",
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    saf_answer answer = enrich(cases[i]);
    if (answer.kind != SAF_REJECT) printf("%s\n", cases[i]);
    check(answer.kind == SAF_REJECT);
  }
}

static void nesting_is_bounded(void) {
  for (int depth = 126; depth <= 127; depth++) {
    char data[300] = "{\"a\":";
    memset(data + 5, '[', (size_t)depth);
    memset(data + 5 + depth, ']', (size_t)depth);
    data[5 + 2 * depth] = '}';
    check((enrich(data).kind == SAF_DONE) == (depth == 126));
  }
}

// Of many members each is found, and each of those that come again replaces the first.
static void many_members(void) {
  char data[8192], *end = data;
  for (int i = 0; i < 300; i++) end += sprintf(end, "%c\"k%d\":%d", i ? ',' : '{', i % 100, i);
  *end++ = '}';
  json_object object;
  check(json_parse((saf_text){data, (size_t)(end - data)}, &object).at == NULL);
  check(object.count == 100);
  for (int i = 0; i < 100; i++) {
    char key[8], value[8];
    sprintf(key, "k%d", i);
    sprintf(value, "%d", 200 + i);
    check_text(json_get(&object, key), value);
  }
}

static void values_are_read(void) {
  json_object object;
  check(json_parse(SAF("{\"a\": \"x\\ny\\u001f\\\"\", \"b\": [1, [\"]\", {\"k\": \",}\"}], \"\\\",[\"], \"c\": []}"), &object).at == NULL);
  check_text(json_unquote(json_get(&object, "a")), "x\ny\x1f\"");
  check(json_count(json_get(&object, "b")) == 3 && json_count(json_get(&object, "c")) == 0);
  check(json_count(json_get(&object, "a")) == -1 && json_get(&object, "d").at == NULL);
  check(json_unquote(json_get(&object, "b")).at == NULL);
}

int main(void) {
  an_object_gains_a_field_in_normal_form();
  anything_else_is_rejected();
  nesting_is_bounded();
  many_members();
  values_are_read();
  return checked();
}
