// saf.c: answers, memory, and, for WebAssembly only, the canonical ABI of saf:channel@0.1.0 by hand: a pointer and a length are
// in memory there what saf_text is here, so that an event's headers and data are used where the router put them.
#include "saf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- Memory: blocks that are filled from the front, and emptied together ----

enum {
  FIRST_BLOCK_BYTES = 16 << 10,
  // What an instance keeps between events; more is given back.
  MAX_KEPT_BYTES = 1 << 20,
};

typedef struct block {
  struct block *older;
  size_t size, used;
  _Alignas(16) char content[];
} block;

static block *newest;

static void new_block(size_t at_least) {
  size_t size = newest ? 2 * newest->size : FIRST_BLOCK_BYTES;
  if (size > MAX_KEPT_BYTES) size = MAX_KEPT_BYTES;
  if (size < at_least) size = at_least;
  block *made = malloc(sizeof *made + size);
  // Without a word: printing needs memory too, and the router names the limit.
  if (!made) abort();
  *made = (block){newest, size, 0};
  newest = made;
}

// Not zeroed.
static void *take(size_t align, size_t size) {
  size_t at = newest ? (newest->used + align - 1) & ~(align - 1) : 0;
  if (!newest || at > newest->size || newest->size - at < size) {
    new_block(size);
    at = 0;
  }
  newest->used = at + size;
  return newest->content + at;
}

void *saf_alloc(size_t size) { return memset(take(16, size), 0, size); }

// ---- Texts ----

saf_text saf_none(void) { return (saf_text){NULL, 0}; }

saf_text saf_join(saf_text first, saf_text second) {
  char *both = take(1, first.size + second.size);
  if (first.size) memcpy(both, first.at, first.size);
  if (second.size) memcpy(both + first.size, second.at, second.size);
  return (saf_text){both, first.size + second.size};
}

saf_text saf_format(const char *format, ...) {
  va_list values;
  va_start(values, format);
  int size = vsnprintf(NULL, 0, format, values);
  va_end(values);
  // Without a word: a message would have every Channel that formats import what prints.
  if (size < 0) abort();
  char *text = take(1, (size_t)size + 1);
  va_start(values, format);
  vsnprintf(text, (size_t)size + 1, format, values);
  va_end(values);
  return (saf_text){text, (size_t)size};
}

bool saf_equal(saf_text a, saf_text b) { return a.size == b.size && (a.size == 0 || memcmp(a.at, b.at, a.size) == 0); }

saf_text saf_header_value(const saf_event *event, const char *name) {
  saf_text wanted = {name, strlen(name)};
  for (size_t i = 0; i < event->header_count; i++)
    if (saf_equal(event->headers[i].name, wanted)) return event->headers[i].value;
  return saf_none();
}

void saf_log(const char *format, ...) {
  va_list values;
  va_start(values, format);
  vprintf(format, values);
  va_end(values);
  putchar('\n');
  fflush(stdout);
}

void saf_trap_at(const char *message, const char *file, int line) {
  fprintf(stderr, "%s:%d: %s\n", file, line, message);
  abort();
}

// ---- Answers ----

saf_answer saf_done(void) { return (saf_answer){.kind = SAF_DONE}; }

saf_answer saf_emit(saf_emission emission) {
  saf_emission *one = take(_Alignof(saf_emission), sizeof *one);
  *one = emission;
  return saf_emit_all(one, 1);
}

saf_answer saf_emit_all(const saf_emission *emissions, size_t count) {
  return (saf_answer){.kind = SAF_DONE, .emissions = emissions, .emission_count = count};
}

saf_answer saf_retry(saf_text reason, uint32_t after_millis) {
  return (saf_answer){.kind = SAF_RETRY, .reason = reason, .after_millis = after_millis};
}

saf_answer saf_reject(saf_text reason) { return (saf_answer){.kind = SAF_REJECT, .reason = reason}; }

__attribute__((weak)) saf_text saf_init(saf_text config) {
  (void)config;
  return SAF_ACCEPTED;
}

// ---- The contract ----
#ifdef __wasm__

typedef struct {
  bool is_some;
  saf_text value;
} optional_text;

typedef struct {
  saf_text subject, data;
  optional_text content_type;
  const saf_header *headers;
  size_t header_count;
  optional_text id;
} emission_record;

typedef struct {
  bool failed;
  union {
    struct {
      emission_record *emissions;
      size_t count;
    } done;
    struct {
      bool rejected;
      saf_text reason;
      bool has_after;
      uint32_t after_millis;
    } failure;
  };
} answer_record;

typedef struct {
  bool refused;
  saf_text reason;
} init_record;

_Static_assert(sizeof(saf_header) == 16 && sizeof(optional_text) == 12, "the contract's layout");
_Static_assert(sizeof(emission_record) == 48 && offsetof(emission_record, id) == 36, "the contract's layout");
_Static_assert(sizeof(answer_record) == 24 && offsetof(answer_record, failure.has_after) == 16, "the contract's layout");

__attribute__((export_name("cabi_realloc"))) void *cabi_realloc(void *old, size_t old_size, size_t align, size_t size) {
  void *made = take(align, size);
  if (old) memcpy(made, old, old_size < size ? old_size : size);
  return made;
}

// Keeps the newest block, which is the largest that is small enough to keep, or none.
static void empty(void) {
  block *kept = newest && newest->size <= MAX_KEPT_BYTES ? newest : NULL;
  for (block *older, *b = newest; b; b = older) {
    older = b->older;
    if (b != kept) free(b);
  }
  newest = kept;
  if (kept) kept->older = NULL, kept->used = 0;
}

// What binds WASI asks for memory when something is printed first, and keeps it for ever.
__attribute__((export_name("cabi_realloc_adapter"))) void *cabi_realloc_adapter(void *old, size_t old_size, size_t align,
                                                                                size_t size) {
  void *made = aligned_alloc(align, (size + align - 1) & ~(align - 1));
  if (!made) abort();
  if (old) memcpy(made, old, old_size < size ? old_size : size);
  return made;
}

static optional_text optional(saf_text text) { return (optional_text){text.at != NULL, text}; }

static emission_record *records(const saf_emission *emissions, size_t count) {
  emission_record *made = take(_Alignof(emission_record), count * sizeof *made);
  for (size_t i = 0; i < count; i++) {
    const saf_emission *e = &emissions[i];
    made[i] = (emission_record){e->subject, e->data, optional(e->content_type), e->headers, e->header_count, optional(e->id)};
  }
  return made;
}

__attribute__((export_name("saf:channel/handler@0.1.0#init"))) init_record *contract_init(const char *config, size_t size) {
  static init_record record;
  saf_text reason = saf_init((saf_text){config, size});
  record = (init_record){reason.at != NULL, reason};
  return &record;
}

__attribute__((export_name("saf:channel/handler@0.1.0#handle"))) answer_record *contract_handle(
    const char *id, size_t id_size, const char *subject, size_t subject_size, uint64_t time, bool typed, const char *type,
    size_t type_size, const saf_header *headers, size_t header_count, const char *data, size_t data_size, uint64_t sequence,
    uint32_t attempt) {
  static answer_record record;
  saf_event event = {
      .id = {id, id_size},
      .subject = {subject, subject_size},
      .time = time,
      .content_type = typed ? (saf_text){type, type_size} : saf_none(),
      .headers = headers,
      .header_count = header_count,
      .data = {data, data_size},
      .sequence = sequence,
      .attempt = attempt,
  };
  saf_answer answer = saf_handle(&event);
  record = (answer_record){.failed = answer.kind != SAF_DONE};
  if (answer.kind == SAF_DONE) {
    record.done.emissions = records(answer.emissions, answer.emission_count);
    record.done.count = answer.emission_count;
    return &record;
  }
  record.failure.rejected = answer.kind == SAF_REJECT;
  record.failure.reason = answer.reason;
  record.failure.has_after = answer.kind == SAF_RETRY && answer.after_millis != SAF_BACKOFF;
  record.failure.after_millis = answer.after_millis;
  return &record;
}

// Called when the router has read the answer.
__attribute__((export_name("cabi_post_saf:channel/handler@0.1.0#init"))) void contract_init_read(init_record *record) {
  (void)record;
  empty();
}

__attribute__((export_name("cabi_post_saf:channel/handler@0.1.0#handle"))) void contract_handle_read(answer_record *record) {
  (void)record;
  empty();
}

#endif
