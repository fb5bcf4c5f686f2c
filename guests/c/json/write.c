// Output: the normal form as it is written.
#include "parts.h"

#include <stdio.h>
#include <string.h>

void *json_larger(void *old, size_t used, size_t size) {
  void *made = saf_alloc(size);
  if (used) memcpy(made, old, used);
  return made;
}

void json_put(json_parser *p, const char *at, size_t size) {
  if (p->capacity - p->size < size) {
    p->capacity = 2 * p->capacity + size;
    p->out = json_larger(p->out, p->size, p->capacity);
  }
  memcpy(p->out + p->size, at, size);
  p->size += size;
}

void json_put_char(json_parser *p, char c) { json_put(p, &c, 1); }

void json_put_escaped(json_parser *p, uint32_t c) {
  static const char letters[] = "btn_fr";  // of 8 to 13, without 11
  if (c == '"' || c == '\\') {
    json_put(p, (char[]){'\\', (char)c}, 2);
  } else if (c < 0x20) {
    char text[8];
    if (c >= 8 && c <= 13 && c != 11) snprintf(text, sizeof text, "\\%c", letters[c - 8]);
    else snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    json_put(p, text, strlen(text));
  } else if (c < 0x80) {
    json_put_char(p, (char)c);
  } else if (c < 0x800) {
    json_put(p, (char[]){(char)(0xc0 | c >> 6), (char)(0x80 | (c & 63))}, 2);
  } else if (c < 0x10000) {
    json_put(p, (char[]){(char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63))}, 3);
  } else {
    char four[] = {(char)(0xf0 | c >> 18), (char)(0x80 | (c >> 12 & 63)), (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63))};
    json_put(p, four, 4);
  }
}
