// Numbers: whole ones as they are, others in the fewest digits that mean the same double.
#include "parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  EXACT_DIGITS = 15,  // decimals of so many digits mean doubles of their own
  MAX_DIGITS = 17,
};

// 0.<digits> times ten to the power of point, always with a point or an exponent.
static void put_fraction(json_parser *p, const char *digits, int count, int point) {
  if (point > 16 || point < -4) {
    json_put_char(p, digits[0]);
    if (count > 1) json_put_char(p, '.'), json_put(p, digits + 1, (size_t)count - 1);
    char exponent[8];
    snprintf(exponent, sizeof exponent, "e%+d", point - 1);
    json_put(p, exponent, strlen(exponent));
  } else if (point <= 0) {
    json_put(p, "0.0000", (size_t)(2 - point));
    json_put(p, digits, (size_t)count);
  } else if (point >= count) {
    json_put(p, digits, (size_t)count);
    for (int i = count; i < point; i++) json_put_char(p, '0');
    json_put(p, ".0", 2);
  } else {
    json_put(p, digits, (size_t)point);
    json_put_char(p, '.');
    json_put(p, digits + point, (size_t)(count - point));
  }
}

// The next number above that is written with as many digits; false when one more would be needed.
static bool step_up(char *written) {
  for (char *c = strchr(written, 'e') - 1; c >= written; c--) {
    if (*c == '.') continue;
    if (*c != '9') return (*c)++, true;
    *c = '0';
  }
  return false;
}

// The fewest digits that mean the same double, for numbers that are written with more than EXACT_DIGITS.
static bool put_double(json_parser *p, const char *from) {
  size_t size = (size_t)(p->at - from);
  char *terminated = saf_alloc(size + 1);
  memcpy(terminated, from, size);
  double value = strtod(terminated, NULL);
  if (value > 1.7976931348623157e308) return json_fail(p, "a number out of range");
  if (value == 0) return json_put(p, "0.0", 3), true;
  char written[32];
  // Below the normal ones doubles are further apart, and fewer digits may do.
  for (int digits = value < 2.2250738585072014e-308 ? 1 : EXACT_DIGITS; digits <= MAX_DIGITS; digits++) {
    snprintf(written, sizeof written, "%.*e", digits - 1, value);
    if (strtod(written, NULL) == value) break;
    // Below a power of two doubles are nearer than above it: what is nearest may miss it, and the next one above may not.
    if (step_up(written) && strtod(written, NULL) == value) break;
  }
  char *mark = strchr(written, 'e');
  char significant[MAX_DIGITS];
  int count = 0;
  for (char *c = written; c < mark; c++)
    if (*c != '.') significant[count++] = *c;
  while (count > 1 && significant[count - 1] == '0') count--;
  put_fraction(p, significant, count, atoi(mark + 1) + 1);
  return true;
}

// Whether a whole number is one of 64 bits, signed or not; what is not becomes a double, and so does -0.
static bool fits(const char *digits, size_t count, bool negative) {
  const char *largest = negative ? "9223372036854775808" : "18446744073709551615";
  size_t size = strlen(largest);
  if (negative && digits[0] == '0') return false;
  return count < size || (count == size && memcmp(digits, largest, size) <= 0);
}

static bool digits(json_parser *p) {
  const char *from = p->at;
  while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
  return p->at > from;
}

bool json_number(json_parser *p) {
  bool negative = json_next(p) == '-';
  if (negative) p->at++;
  const char *from = p->at, *fraction = NULL;
  if (!digits(p) || (*from == '0' && p->at > from + 1)) return json_fail(p, "no number");
  const char *whole_end = p->at, *mantissa_end = p->at;
  if (json_next(p) == '.') {
    fraction = ++p->at;
    if (!digits(p)) return json_fail(p, "no number");
    mantissa_end = p->at;
  }
  long exponent = 0;
  bool has_exponent = (json_next(p) | 0x20) == 'e';
  if (has_exponent) {
    p->at++;
    bool down = json_next(p) == '-';
    if (down || json_next(p) == '+') p->at++;
    const char *first = p->at;
    if (!digits(p)) return json_fail(p, "no number");
    for (; first < p->at; first++)
      if (exponent < 100000) exponent = 10 * exponent + (*first - '0');
    if (down) exponent = -exponent;
  }
  if (negative) json_put_char(p, '-');
  if (!fraction && !has_exponent && fits(from, (size_t)(whole_end - from), negative))
    return json_put(p, from, (size_t)(whole_end - from)), true;
  // The digits without point and zeros around them.
  char significant[EXACT_DIGITS];
  int count = 0, zeros = 0;
  long point = exponent + (whole_end - from);
  bool seen = false;
  for (const char *c = from; c < mantissa_end; c++) {
    if (*c == '.') continue;
    if (!seen && *c == '0') {
      point--;
      continue;
    }
    seen = true;
    if (*c == '0') {
      zeros++;
      continue;
    }
    if (count + zeros >= EXACT_DIGITS) return put_double(p, from);
    for (; zeros; zeros--) significant[count++] = '0';
    significant[count++] = *c;
  }
  if (!seen) return json_put(p, "0.0", 3), true;
  if (point > 300 || point < -290) return put_double(p, from);
  put_fraction(p, significant, count, (int)point);
  return true;
}
