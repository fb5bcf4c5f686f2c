// json.c: one pass over the data writes the normal form and remembers where the members of unfinished objects stand in it.
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
  MAX_DEPTH = 128,   // what is nested deeper is refused; the stack is bounded
  FEW_MEMBERS = 16,  // with more members than this, keys are looked up in a table
  EXACT_DIGITS = 15,  // decimals of so many digits mean doubles of their own
  MAX_DIGITS = 17,
};

// Where a member stands in the output.
typedef struct {
  size_t key, key_end, value, end;
} place;

typedef struct {
  const char *at, *end, *start;
  int depth;
  const char *problem;
  char *out;
  size_t size, capacity;
  place *places;  // a stack
  size_t place_count, place_capacity;
} parser;

// ---- Output ----

static void *larger(void *old, size_t used, size_t size) {
  void *made = saf_alloc(size);
  if (used) memcpy(made, old, used);
  return made;
}

static void put(parser *p, const char *at, size_t size) {
  if (p->capacity - p->size < size) {
    p->capacity = 2 * p->capacity + size;
    p->out = larger(p->out, p->size, p->capacity);
  }
  memcpy(p->out + p->size, at, size);
  p->size += size;
}

static void put_char(parser *p, char c) { put(p, &c, 1); }

static void put_escaped(parser *p, uint32_t c) {
  static const char letters[] = "btn_fr";  // of 8 to 13, without 11
  if (c == '"' || c == '\\') {
    put(p, (char[]){'\\', (char)c}, 2);
  } else if (c < 0x20) {
    char text[8];
    if (c >= 8 && c <= 13 && c != 11) snprintf(text, sizeof text, "\\%c", letters[c - 8]);
    else snprintf(text, sizeof text, "\\u%04x", (unsigned)c);
    put(p, text, strlen(text));
  } else if (c < 0x80) {
    put_char(p, (char)c);
  } else if (c < 0x800) {
    put(p, (char[]){(char)(0xc0 | c >> 6), (char)(0x80 | (c & 63))}, 2);
  } else if (c < 0x10000) {
    put(p, (char[]){(char)(0xe0 | c >> 12), (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63))}, 3);
  } else {
    char four[] = {(char)(0xf0 | c >> 18), (char)(0x80 | (c >> 12 & 63)), (char)(0x80 | (c >> 6 & 63)), (char)(0x80 | (c & 63))};
    put(p, four, 4);
  }
}

// ---- Input ----

static bool fail(parser *p, const char *problem) {
  p->problem = problem;
  return false;
}

static char next(const parser *p) { return p->at < p->end ? *p->at : 0; }

static void space(parser *p) {
  while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')) p->at++;
}

// Moves past c, behind white space, and says whether it was there.
static bool take(parser *p, char c) {
  space(p);
  if (next(p) != c) return false;
  p->at++;
  return true;
}

static bool word(parser *p, const char *word) {
  size_t size = strlen(word);
  if ((size_t)(p->end - p->at) < size || memcmp(p->at, word, size) != 0) return fail(p, "a value was expected");
  p->at += size;
  put(p, word, size);
  return true;
}

// The size of the character at `at` in bytes; 0 when it is not UTF-8.
static size_t character(const char *at, const char *end) {
  const unsigned char *c = (const unsigned char *)at;
  size_t size = c[0] < 0x80 ? 1 : c[0] < 0xc2 ? 0 : c[0] < 0xe0 ? 2 : c[0] < 0xf0 ? 3 : c[0] < 0xf5 ? 4 : 0;
  if (size > (size_t)(end - at)) return 0;
  for (size_t i = 1; i < size; i++)
    if ((c[i] & 0xc0) != 0x80) return 0;
  if (size < 3) return size;
  // Overlong, surrogates, and beyond the last.
  bool wrong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf0 && c[1] < 0x90) ||
               (c[0] == 0xf4 && c[1] > 0x8f);
  return wrong ? 0 : size;
}

// Four hexadecimal digits.
static bool unit(parser *p, uint32_t *value) {
  *value = 0;
  for (int i = 0; i < 4; i++, p->at++) {
    char c = next(p);
    if (c >= '0' && c <= '9') *value = *value << 4 | (uint32_t)(c - '0');
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') *value = *value << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
    else return false;
  }
  return true;
}

static bool escaped(parser *p) {
  char c = next(p);
  p->at++;
  const char *letters = "b\bf\fn\nr\rt\t";
  if (c == '"' || c == '\\' || c == '/') return put_escaped(p, (uint32_t)c), true;
  const char *letter = c ? strchr(letters, c) : NULL;
  if (letter && (unsigned char)c >= ' ') return put_escaped(p, (uint32_t)letter[1]), true;
  uint32_t high, low;
  if (c != 'u' || !unit(p, &high)) return fail(p, "an unknown escape");
  if (high < 0xd800 || high > 0xdfff) return put_escaped(p, high), true;
  bool pair = high < 0xdc00 && next(p) == '\\' && (p->at++, next(p) == 'u') && (p->at++, unit(p, &low)) && low >= 0xdc00 &&
              low <= 0xdfff;
  if (!pair) return fail(p, "half a character");
  put_escaped(p, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
  return true;
}

static bool text(parser *p) {
  p->at++;
  put_char(p, '"');
  for (;;) {
    const char *from = p->at;
    while (p->at < p->end && (unsigned char)*p->at >= ' ' && *p->at != '"' && *p->at != '\\') {
      size_t size = character(p->at, p->end);
      if (!size) return fail(p, "text that is not UTF-8");
      p->at += size;
    }
    put(p, from, (size_t)(p->at - from));
    char c = next(p);
    p->at++;
    if (c == '"') return put_char(p, '"'), true;
    if (c != '\\') return fail(p, "text without an end, or with a control character");
    if (!escaped(p)) return false;
  }
}

// ---- Numbers ----

// 0.<digits> times ten to the power of point, always with a point or an exponent.
static void put_fraction(parser *p, const char *digits, int count, int point) {
  if (point > 16 || point < -4) {
    put_char(p, digits[0]);
    if (count > 1) put_char(p, '.'), put(p, digits + 1, (size_t)count - 1);
    char exponent[8];
    snprintf(exponent, sizeof exponent, "e%+d", point - 1);
    put(p, exponent, strlen(exponent));
  } else if (point <= 0) {
    put(p, "0.0000", (size_t)(2 - point));
    put(p, digits, (size_t)count);
  } else if (point >= count) {
    put(p, digits, (size_t)count);
    for (int i = count; i < point; i++) put_char(p, '0');
    put(p, ".0", 2);
  } else {
    put(p, digits, (size_t)point);
    put_char(p, '.');
    put(p, digits + point, (size_t)(count - point));
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
static bool put_double(parser *p, const char *from) {
  size_t size = (size_t)(p->at - from);
  char *terminated = saf_alloc(size + 1);
  memcpy(terminated, from, size);
  double value = strtod(terminated, NULL);
  if (value > 1.7976931348623157e308) return fail(p, "a number out of range");
  if (value == 0) return put(p, "0.0", 3), true;
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

static bool digits(parser *p) {
  const char *from = p->at;
  while (p->at < p->end && *p->at >= '0' && *p->at <= '9') p->at++;
  return p->at > from;
}

static bool number(parser *p) {
  bool negative = next(p) == '-';
  if (negative) p->at++;
  const char *from = p->at, *fraction = NULL;
  if (!digits(p) || (*from == '0' && p->at > from + 1)) return fail(p, "no number");
  const char *whole_end = p->at, *mantissa_end = p->at;
  if (next(p) == '.') {
    fraction = ++p->at;
    if (!digits(p)) return fail(p, "no number");
    mantissa_end = p->at;
  }
  long exponent = 0;
  bool has_exponent = (next(p) | 0x20) == 'e';
  if (has_exponent) {
    p->at++;
    bool down = next(p) == '-';
    if (down || next(p) == '+') p->at++;
    const char *first = p->at;
    if (!digits(p)) return fail(p, "no number");
    for (; first < p->at; first++)
      if (exponent < 100000) exponent = 10 * exponent + (*first - '0');
    if (down) exponent = -exponent;
  }
  if (negative) put_char(p, '-');
  if (!fraction && !has_exponent && fits(from, (size_t)(whole_end - from), negative))
    return put(p, from, (size_t)(whole_end - from)), true;
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
  if (!seen) return put(p, "0.0", 3), true;
  if (point > 300 || point < -290) return put_double(p, from);
  put_fraction(p, significant, count, (int)point);
  return true;
}

// ---- Lists and objects ----

static bool value(parser *p);

static bool opened(parser *p, char c) {
  if (++p->depth >= MAX_DEPTH) return fail(p, "nested too deeply");
  p->at++;
  put_char(p, c);
  return true;
}

static bool closed(parser *p, char c) {
  p->depth--;
  put_char(p, c);
  return true;
}

static bool list(parser *p) {
  if (!opened(p, '[')) return false;
  if (take(p, ']')) return closed(p, ']');
  for (;;) {
    if (!value(p)) return false;
    if (take(p, ']')) return closed(p, ']');
    if (!take(p, ',')) return fail(p, "a comma or the end of the list was expected");
    put_char(p, ',');
  }
}

// The members of one object that were looked up by a table: indices into places, plus one.
typedef struct {
  uint32_t *slots;
  size_t capacity;
} table;

static bool same_key(const parser *p, const place *a, const place *b) {
  size_t size = a->key_end - a->key;
  return size == b->key_end - b->key && memcmp(p->out + a->key, p->out + b->key, size) == 0;
}

// The slot of a key, or the free one that would take it.
static uint32_t *slot(const parser *p, const table *t, const place *m) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (size_t i = m->key; i < m->key_end; i++) hash = (hash ^ (unsigned char)p->out[i]) * 16777619u;
  for (size_t at = hash;; at++) {
    uint32_t *found = &t->slots[at & (t->capacity - 1)];
    if (!*found || same_key(p, &p->places[*found - 1], m)) return found;
  }
}

// An earlier member with the same key, from `base` on.
static place *find(parser *p, size_t base, table *t, const place *m) {
  size_t count = p->place_count - base;
  if (count <= FEW_MEMBERS) {
    for (size_t i = base; i < p->place_count; i++)
      if (same_key(p, &p->places[i], m)) return &p->places[i];
    return NULL;
  }
  if (2 * count >= t->capacity) {
    *t = (table){saf_alloc(8 * count * sizeof(uint32_t)), 8 * FEW_MEMBERS};
    while (t->capacity < 4 * count) t->capacity *= 2;
    t->slots = saf_alloc(t->capacity * sizeof(uint32_t));
    for (size_t i = base; i < p->place_count; i++) *slot(p, t, &p->places[i]) = (uint32_t)i + 1;
  }
  uint32_t *found = slot(p, t, m);
  if (*found) return &p->places[*found - 1];
  *found = (uint32_t)p->place_count + 1;
  return NULL;
}

static void remember(parser *p, place m) {
  if (p->place_count == p->place_capacity) {
    p->place_capacity = 2 * p->place_capacity + FEW_MEMBERS;
    p->places = larger(p->places, p->place_count * sizeof m, p->place_capacity * sizeof m);
  }
  p->places[p->place_count++] = m;
}

// Puts the value of m, whose text begins at `from`, in the place of an earlier one.
static void replace(parser *p, place *old, size_t from, place m) {
  size_t size = m.end - m.value, rest = from - old->end;
  char *moved = saf_alloc(size + rest);
  memcpy(moved, p->out + m.value, size);
  memcpy(moved + size, p->out + old->end, rest);
  memcpy(p->out + old->value, moved, size + rest);
  p->size = old->value + size + rest;
  size_t longer = size - (old->end - old->value);  // modulo 2^n, when it is shorter
  old->end += longer;
  for (place *later = old + 1; later < p->places + p->place_count; later++)
    later->key += longer, later->key_end += longer, later->value += longer, later->end += longer;
}

static bool member(parser *p, place *m) {
  space(p);
  if (next(p) != '"') return fail(p, "a key was expected");
  m->key = p->size;
  if (!text(p)) return false;
  m->key_end = p->size;
  if (!take(p, ':')) return fail(p, "a colon was expected");
  put_char(p, ':');
  m->value = p->size;
  if (!value(p)) return false;
  m->end = p->size;
  return true;
}

// Leaves its members on the stack.
static bool object(parser *p) {
  size_t base = p->place_count;
  table seen = {NULL, 0};
  if (!opened(p, '{')) return false;
  if (take(p, '}')) return closed(p, '}');
  for (;;) {
    size_t from = p->size;
    if (p->place_count > base) put_char(p, ',');
    place m;
    if (!member(p, &m)) return false;
    place *earlier = find(p, base, &seen, &m);
    if (earlier) replace(p, earlier, from, m);
    else remember(p, m);
    if (take(p, '}')) return closed(p, '}');
    if (!take(p, ',')) return fail(p, "a comma or the end of the object was expected");
  }
}

static bool value(parser *p) {
  space(p);
  char c = next(p);
  if (c == '"') return text(p);
  if (c == '-' || (c >= '0' && c <= '9')) return number(p);
  if (c == '[') return list(p);
  if (c == 't') return word(p, "true");
  if (c == 'f') return word(p, "false");
  if (c == 'n') return word(p, "null");
  if (c != '{') return fail(p, "a value was expected");
  size_t base = p->place_count;
  if (!object(p)) return false;
  p->place_count = base;
  return true;
}

saf_text json_parse(saf_text data, json_object *result) {
  // Hardly any data is longer in normal form; a little more than the data is room for the most.
  size_t room = data.size + data.size / 16 + 64;
  parser p = {.at = data.at, .start = data.at, .end = data.at + data.size, .out = saf_alloc(room), .capacity = room};
  space(&p);
  bool read = next(&p) == '{' ? object(&p) : fail(&p, "an object was expected");
  space(&p);
  if (read && p.at < p.end) read = fail(&p, "nothing more was expected");
  if (!read) {
    char where[32];
    snprintf(where, sizeof where, " at byte %zu", (size_t)(p.at - p.start));
    return saf_join((saf_text){p.problem, strlen(p.problem)}, saf_join((saf_text){where, strlen(where)}, saf_none()));
  }
  *result = (json_object){saf_alloc((p.place_count + 1) * sizeof(json_member)), p.place_count, p.place_count + 1};
  for (size_t i = 0; i < p.place_count; i++) {
    place m = p.places[i];
    result->members[i] = (json_member){{p.out + m.key, m.key_end - m.key}, {p.out + m.value, m.end - m.value}};
  }
  return saf_none();
}

// ---- Objects and values in normal form ----

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
    object->members = larger(object->members, object->count * sizeof(json_member), object->capacity * sizeof(json_member));
  }
  object->members[object->count++] = (json_member){name, value};
}

saf_text json_text(const json_object *object) {
  size_t size = 2;
  for (size_t i = 0; i < object->count; i++) size += object->members[i].key.size + object->members[i].value.size + 2;
  parser p = {.out = saf_alloc(size), .capacity = size};
  put_char(&p, '{');
  for (size_t i = 0; i < object->count; i++) {
    if (i) put_char(&p, ',');
    put(&p, object->members[i].key.at, object->members[i].key.size);
    put_char(&p, ':');
    put(&p, object->members[i].value.at, object->members[i].value.size);
  }
  put_char(&p, '}');
  return (saf_text){p.out, p.size};
}

saf_text json_quote(saf_text text) {
  parser p = {.out = saf_alloc(text.size + 2), .capacity = text.size + 2};
  put_char(&p, '"');
  for (size_t i = 0; i < text.size; i++) {
    unsigned char c = (unsigned char)text.at[i];
    if (c < 0x80) put_escaped(&p, c);
    else put_char(&p, (char)c);
  }
  put_char(&p, '"');
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
