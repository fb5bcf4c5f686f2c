// The Channel as the function it is. All 329 known payloads go through the component, beside those of other languages.
#include "check.h"

static saf_answer webhook(const char *subject, const char *payload) {
  return saf_handle(&(saf_event){.subject = {subject, strlen(subject)}, .data = {payload, strlen(payload)}});
}

static void a_summary_has_what_the_payload_has(void) {
  static const char *cases[][4] = {
      {"github.ping", "{}", "github.ping.summary", "{\"event\":\"ping\"}"},
      {"github.ping", "{\"action\": null, \"sender\": null}", "github.ping.summary", "{\"event\":\"ping\"}"},
      {"github.ping", "{\"action\": \"\"}", "github.ping.summary", "{\"event\":\"ping\",\"action\":\"\"}"},
      {"github.issues",
       "{\"sender\": {\"login\": \"c\"}, \"action\": \"opened\", \"repository\": {\"id\": 1, \"full_name\": \"a/b\"},"
       "\"issue\": {\"state\": \"open\", \"number\": 7, \"title\": \"It \\\"breaks\\\"\", \"user\": {}}}",
       "github.issues.opened.summary",
       "{\"event\":\"issues\",\"action\":\"opened\",\"repository\":\"a/b\",\"sender\":\"c\",\"number\":7,"
       "\"title\":\"It \\\"breaks\\\"\",\"state\":\"open\"}"},
      {"github.push", "{\"ref\": \"refs/heads/main\", \"commits\": [{}, {}], \"organization\": {\"login\": \"o\"}}",
       "github.push.summary", "{\"event\":\"push\",\"organization\":\"o\",\"ref\":\"refs/heads/main\",\"commits\":2}"},
      {"github.release", "{\"action\": \"published\", \"release\": {\"tag_name\": \"v1\"}}",
       "github.release.published.summary", "{\"event\":\"release\",\"action\":\"published\",\"tag\":\"v1\"}"},
      {"github.repository_dispatch", "{\"action\": \"on demand.*>é\"}",
       "github.repository_dispatch.on-demand----.summary",
       "{\"event\":\"repository_dispatch\",\"action\":\"on demand.*>é\"}"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    saf_answer answer = webhook(cases[i][0], cases[i][1]);
    check(answer.kind == SAF_DONE && answer.emission_count == 1);
    if (answer.kind != SAF_DONE) continue;
    check_text(answer.emissions[0].subject, cases[i][2]);
    check_text(answer.emissions[0].data, cases[i][3]);
  }
}

static void what_can_never_be_summarised_is_rejected(void) {
  static const char *cases[][2] = {
      {"github.push", ""},
      {"github.push", "payload=%7B%7D"},
      {"github.push", "[]"},
      {"github.push", "{\"action\": 1}"},
      {"github.push", "{\"sender\": \"x\"}"},
      {"github.push", "{\"commits\": {}}"},
      {"github.issues", "{\"issue\": {\"number\": 1.5}}"},
      {"github.push", "\xff"},
      {"github.push.summary", "{}"},
      {"gitlab.push", "{}"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(webhook(cases[i][0], cases[i][1]).kind == SAF_REJECT);
}

int main(void) {
  a_summary_has_what_the_payload_has();
  what_can_never_be_summarised_is_rejected();
  return checked();
}
