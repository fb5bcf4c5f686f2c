// What the files of json.h share: the text that is being read, and the normal form that is being written.
#pragma once

#include "../json.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Where a member stands in the output.
typedef struct {
  size_t key, key_end, value, end;
} json_place;

// One pass over the data writes the normal form and remembers where the members of unfinished objects stand in it.
typedef struct {
  const char *at, *end, *start;
  int depth;
  const char *problem;
  char *out;
  size_t size, capacity;
  json_place *places;  // a stack
  size_t place_count, place_capacity;
} json_parser;

static inline bool json_fail(json_parser *p, const char *problem) {
  p->problem = problem;
  return false;
}

// 0 at the end.
static inline char json_next(const json_parser *p) { return p->at < p->end ? *p->at : 0; }

// write.c: output, which grows.
void *json_larger(void *old, size_t used, size_t size);
void json_put(json_parser *p, const char *at, size_t size);
void json_put_char(json_parser *p, char c);
// A character of a text, escaped if it must be.
void json_put_escaped(json_parser *p, uint32_t c);

// number.c: reads a number, and writes it in its normal form.
bool json_number(json_parser *p);
