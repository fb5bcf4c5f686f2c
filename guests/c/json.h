// json.h: JSON objects whose keys keep their order. A value is its JSON text in normal form: no white space, text as UTF-8 with only
// what must be escaped escaped, whole numbers as they are, fractions in the fewest digits that mean the same double. Of a key
// that occurs twice the last value counts, in the first one's place. All memory is of saf_alloc's kind.
#pragma once

#include "saf.h"

typedef struct {
  saf_text key, value;
} json_member;

// Empty when all zero.
typedef struct {
  json_member *members;
  size_t count, capacity;
} json_object;

// Reads an object. Anything else, or anything after it, is refused with a text that says what and where; none means read.
saf_text json_parse(saf_text data, json_object *object);
// A member's value; none when there is none.
saf_text json_get(const json_object *object, const char *key);
// Puts a value in the place of a member's, or behind all others.
void json_set(json_object *object, const char *key, saf_text value);
// The object as text.
saf_text json_text(const json_object *object);

// A text as a value. It must be UTF-8.
saf_text json_quote(saf_text text);
// What a value says that is text; none for another one.
saf_text json_unquote(saf_text value);
// How many values a list has; -1 for what is no list.
long json_count(saf_text value);
