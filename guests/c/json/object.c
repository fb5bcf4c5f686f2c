// Objects that were read, and values in normal form.
#include "parts.h"

#include <stdlib.h>
#include <string.h>

static json_member *member_of(const json_object *object, saf_text key) {
  for (size_t i = 0; i < object->count; i++)
    if (saf_equal(object->members[i].key, key)) return &object->members[i];
  return NULL;
}

saf_text json_get(const json_object *object, const char *key) {
  json_member *found = member_of(object, json_quote((saf_text){key, strlen(key)}));
  return found ? found->value : saf_none();
}

void json_set(json_object *object, const char *key, saf_text value) {
  saf_text name = json_quote((saf_text){key, strlen(key)});
  json_member *found = member_of(object, name);
  if (found) {
    found->value = value;
    return;
  }
  if (object->count == object->capacity) {
    object->capacity = 2 * object->capacity + 8;
    object->members = json_larger(object->members, object->count * sizeof(json_member), object->capacity * sizeof(json_member));
  }
  object->members[object->count++] = (json_member){name, value};
}

saf_text json_text(const json_object *object) {
  size_t size = 2;
  for (size_t i = 0; i < object->count; i++) size += object->members[i].key.size + object->members[i].value.size + 2;
  json_parser p = {.out = saf_alloc(size), .capacity = size};
  json_put_char(&p, '{');
  for (size_t i = 0; i < object->count; i++) {
    if (i) json_put_char(&p, ',');
    json_put(&p, object->members[i].key.at, object->members[i].key.size);
    json_put_char(&p, ':');
    json_put(&p, object->members[i].value.at, object->members[i].value.size);
  }
  json_put_char(&p, '}');
  return (saf_text){p.out, p.size};
}

saf_text json_quote(saf_text text) {
  json_parser p = {.out = saf_alloc(text.size + 2), .capacity = text.size + 2};
  json_put_char(&p, '"');
  for (size_t i = 0; i < text.size; i++) {
    unsigned char c = (unsigned char)text.at[i];
    if (c < 0x80) json_put_escaped(&p, c);
    else json_put_char(&p, (char)c);
  }
  json_put_char(&p, '"');
  return (saf_text){p.out, p.size};
}

saf_text json_unquote(saf_text value) {
  if (value.size < 2 || value.at[0] != '"') return saf_none();
  char *plain = saf_alloc(value.size);
  size_t size = 0;
  for (const char *c = value.at + 1; c < value.at + value.size - 1; c++) {
    if (*c != '\\') {
      plain[size++] = *c;
      continue;
    }
    switch (*++c) {
      case 'b': plain[size++] = '\b'; break;
      case 'f': plain[size++] = '\f'; break;
      case 'n': plain[size++] = '\n'; break;
      case 'r': plain[size++] = '\r'; break;
      case 't': plain[size++] = '\t'; break;
      case 'u': {  // \u00xx, in normal form
        char two[3] = {c[3], c[4], 0};
        plain[size++] = (char)strtol(two, NULL, 16);
        c += 4;
        break;
      }
      default: plain[size++] = *c;
    }
  }
  return (saf_text){plain, size};
}

long json_count(saf_text value) {
  if (value.size < 2 || value.at[0] != '[') return -1;
  if (value.size == 2) return 0;
  long count = 1;
  int depth = 0;
  bool quoted = false;
  for (const char *c = value.at + 1; c < value.at + value.size - 1; c++) {
    if (quoted && *c == '\\') c++;
    else if (*c == '"') quoted = !quoted;
    else if (quoted) continue;
    else if (*c == '[' || *c == '{') depth++;
    else if (*c == ']' || *c == '}') depth--;
    else if (*c == ',' && depth == 0) count++;
  }
  return count;
}
