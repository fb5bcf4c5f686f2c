// Reading: texts, lists and objects, in one pass.
#include "parts.h"

#include <stdio.h>
#include <string.h>

enum {
  MAX_DEPTH = 128,   // what is nested deeper is refused; the stack is bounded
  FEW_MEMBERS = 16,  // with more members than this, keys are looked up in a table
};

static void space(json_parser *p) {
  while (p->at < p->end && (*p->at == ' ' || *p->at == '\t' || *p->at == '\n' || *p->at == '\r')) p->at++;
}

// Moves past c, behind white space, and says whether it was there.
static bool take(json_parser *p, char c) {
  space(p);
  if (json_next(p) != c) return false;
  p->at++;
  return true;
}

static bool word(json_parser *p, const char *word) {
  size_t size = strlen(word);
  if ((size_t)(p->end - p->at) < size || memcmp(p->at, word, size) != 0) return json_fail(p, "a value was expected");
  p->at += size;
  json_put(p, word, size);
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
static bool unit(json_parser *p, uint32_t *value) {
  *value = 0;
  for (int i = 0; i < 4; i++, p->at++) {
    char c = json_next(p);
    if (c >= '0' && c <= '9') *value = *value << 4 | (uint32_t)(c - '0');
    else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') *value = *value << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
    else return false;
  }
  return true;
}

static bool escaped(json_parser *p) {
  char c = json_next(p);
  p->at++;
  const char *letters = "b\bf\fn\nr\rt\t";
  if (c == '"' || c == '\\' || c == '/') return json_put_escaped(p, (uint32_t)c), true;
  const char *letter = c ? strchr(letters, c) : NULL;
  if (letter && (unsigned char)c >= ' ') return json_put_escaped(p, (uint32_t)letter[1]), true;
  uint32_t high, low;
  if (c != 'u' || !unit(p, &high)) return json_fail(p, "an unknown escape");
  if (high < 0xd800 || high > 0xdfff) return json_put_escaped(p, high), true;
  bool pair = high < 0xdc00 && json_next(p) == '\\' && (p->at++, json_next(p) == 'u') && (p->at++, unit(p, &low)) && low >= 0xdc00 &&
              low <= 0xdfff;
  if (!pair) return json_fail(p, "half a character");
  json_put_escaped(p, 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00));
  return true;
}

static bool text(json_parser *p) {
  p->at++;
  json_put_char(p, '"');
  for (;;) {
    const char *from = p->at;
    while (p->at < p->end && (unsigned char)*p->at >= ' ' && *p->at != '"' && *p->at != '\\') {
      size_t size = character(p->at, p->end);
      if (!size) return json_fail(p, "text that is not UTF-8");
      p->at += size;
    }
    json_put(p, from, (size_t)(p->at - from));
    char c = json_next(p);
    p->at++;
    if (c == '"') return json_put_char(p, '"'), true;
    if (c != '\\') return json_fail(p, "text without an end, or with a control character");
    if (!escaped(p)) return false;
  }
}

// ---- Lists and objects ----

static bool value(json_parser *p);

static bool opened(json_parser *p, char c) {
  if (++p->depth >= MAX_DEPTH) return json_fail(p, "nested too deeply");
  p->at++;
  json_put_char(p, c);
  return true;
}

static bool closed(json_parser *p, char c) {
  p->depth--;
  json_put_char(p, c);
  return true;
}

static bool list(json_parser *p) {
  if (!opened(p, '[')) return false;
  if (take(p, ']')) return closed(p, ']');
  for (;;) {
    if (!value(p)) return false;
    if (take(p, ']')) return closed(p, ']');
    if (!take(p, ',')) return json_fail(p, "a comma or the end of the list was expected");
    json_put_char(p, ',');
  }
}

// The members of one object that were looked up by a table: indices into places, plus one.
typedef struct {
  uint32_t *slots;
  size_t capacity;
} table;

static bool same_key(const json_parser *p, const json_place *a, const json_place *b) {
  size_t size = a->key_end - a->key;
  return size == b->key_end - b->key && memcmp(p->out + a->key, p->out + b->key, size) == 0;
}

// The slot of a key, or the free one that would take it.
static uint32_t *slot(const json_parser *p, const table *t, const json_place *m) {
  uint32_t hash = 2166136261u;  // FNV-1a
  for (size_t i = m->key; i < m->key_end; i++) hash = (hash ^ (unsigned char)p->out[i]) * 16777619u;
  for (size_t at = hash;; at++) {
    uint32_t *found = &t->slots[at & (t->capacity - 1)];
    if (!*found || same_key(p, &p->places[*found - 1], m)) return found;
  }
}

// An earlier member with the same key, from `base` on.
static json_place *find(json_parser *p, size_t base, table *t, const json_place *m) {
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

static void remember(json_parser *p, json_place m) {
  if (p->place_count == p->place_capacity) {
    p->place_capacity = 2 * p->place_capacity + FEW_MEMBERS;
    p->places = json_larger(p->places, p->place_count * sizeof m, p->place_capacity * sizeof m);
  }
  p->places[p->place_count++] = m;
}

// Puts the value of m, whose text begins at `from`, in the place of an earlier one.
static void replace(json_parser *p, json_place *old, size_t from, json_place m) {
  size_t size = m.end - m.value, rest = from - old->end;
  char *moved = saf_alloc(size + rest);
  memcpy(moved, p->out + m.value, size);
  memcpy(moved + size, p->out + old->end, rest);
  memcpy(p->out + old->value, moved, size + rest);
  p->size = old->value + size + rest;
  size_t longer = size - (old->end - old->value);  // modulo 2^n, when it is shorter
  old->end += longer;
  for (json_place *later = old + 1; later < p->places + p->place_count; later++)
    later->key += longer, later->key_end += longer, later->value += longer, later->end += longer;
}

static bool member(json_parser *p, json_place *m) {
  space(p);
  if (json_next(p) != '"') return json_fail(p, "a key was expected");
  m->key = p->size;
  if (!text(p)) return false;
  m->key_end = p->size;
  if (!take(p, ':')) return json_fail(p, "a colon was expected");
  json_put_char(p, ':');
  m->value = p->size;
  if (!value(p)) return false;
  m->end = p->size;
  return true;
}

// Leaves its members on the stack.
static bool object(json_parser *p) {
  size_t base = p->place_count;
  table seen = {NULL, 0};
  if (!opened(p, '{')) return false;
  if (take(p, '}')) return closed(p, '}');
  for (;;) {
    size_t from = p->size;
    if (p->place_count > base) json_put_char(p, ',');
    json_place m;
    if (!member(p, &m)) return false;
    json_place *earlier = find(p, base, &seen, &m);
    if (earlier) replace(p, earlier, from, m);
    else remember(p, m);
    if (take(p, '}')) return closed(p, '}');
    if (!take(p, ',')) return json_fail(p, "a comma or the end of the object was expected");
  }
}

static bool value(json_parser *p) {
  space(p);
  char c = json_next(p);
  if (c == '"') return text(p);
  if (c == '-' || (c >= '0' && c <= '9')) return json_number(p);
  if (c == '[') return list(p);
  if (c == 't') return word(p, "true");
  if (c == 'f') return word(p, "false");
  if (c == 'n') return word(p, "null");
  if (c != '{') return json_fail(p, "a value was expected");
  size_t base = p->place_count;
  if (!object(p)) return false;
  p->place_count = base;
  return true;
}

saf_text json_parse(saf_text data, json_object *result) {
  // Hardly any data is longer in normal form; a little more than the data is room for the most.
  size_t room = data.size + data.size / 16 + 64;
  json_parser p = {.at = data.at, .start = data.at, .end = data.at + data.size, .out = saf_alloc(room), .capacity = room};
  space(&p);
  bool read = json_next(&p) == '{' ? object(&p) : json_fail(&p, "an object was expected");
  space(&p);
  if (read && p.at < p.end) read = json_fail(&p, "nothing more was expected");
  if (!read) {
    char where[32];
    snprintf(where, sizeof where, " at byte %zu", (size_t)(p.at - p.start));
    return saf_join((saf_text){p.problem, strlen(p.problem)}, saf_join((saf_text){where, strlen(where)}, saf_none()));
  }
  *result = (json_object){saf_alloc((p.place_count + 1) * sizeof(json_member)), p.place_count, p.place_count + 1};
  for (size_t i = 0; i < p.place_count; i++) {
    json_place m = p.places[i];
    result->members[i] = (json_member){{p.out + m.key, m.key_end - m.key}, {p.out + m.value, m.end - m.value}};
  }
  return saf_none();
}
