// What the tests of the Channels here say things with; they are compiled with the machine's own libc.
#pragma once

#include <stdio.h>
#include <string.h>

#include "saf.h"

static int failures, checks;

#define check(condition) check_at(condition, #condition, __FILE__, __LINE__)
#define check_text(text, expected) check_text_at(text, expected, __FILE__, __LINE__)

static inline void check_at(bool holds, const char *what, const char *file, int line) {
  checks++;
  if (holds) return;
  failures++;
  printf("%s:%d: not so: %s\n", file, line, what);
}

static inline void check_text_at(saf_text text, const char *expected, const char *file, int line) {
  checks++;
  if (saf_equal(text, (saf_text){expected, strlen(expected)})) return;
  failures++;
  printf("%s:%d: %.*s\n  is not %s\n", file, line, (int)text.size, text.at ? text.at : "", expected);
}

// The exit code of a test.
static inline int checked(void) {
  printf("%d passed, %d failed\n", checks - failures, failures);
  return failures != 0;
}
