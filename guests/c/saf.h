// saf.h: what a Channel in C is written with. An event comes in, an answer goes out:
//
//     saf_answer saf_handle(const saf_event *event) {
//       return saf_emit((saf_emission){.subject = SAF("greeted"), .data = event->data});
//     }
//
// Memory: an event, and everything from saf_alloc, saf_join and saf_format, is valid until the answer was read; then all of it
// is gone at once, and nothing need be freed. What shall live longer belongs into memory of malloc. Texts are UTF-8, have a
// length, and end with no zero byte.
//
// It compiles natively too, where a test calls saf_handle like any function. Deliberately absent: publishing (what is returned
// is stored, all or nothing), and threads.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Text or bytes; at == NULL means none where something is optional.
typedef struct {
  const char *at;
  size_t size;
} saf_text;

// A literal as text.
#ifdef __cplusplus
#define SAF(literal) (saf_text{"" literal, sizeof(literal) - 1})
#else
#define SAF(literal) ((saf_text){"" literal, sizeof(literal) - 1})
#endif

// Names are lower case, and may occur more than once.
typedef struct {
  saf_text name, value;
} saf_header;

// An event as the router stored it.
typedef struct {
  saf_text id, subject;
  uint64_t time;          // when it was stored: milliseconds since 1970
  saf_text content_type;  // optional
  const saf_header *headers;
  size_t header_count;
  saf_text data;      // the payload, byte for byte as it was posted
  uint64_t sequence;  // its place in its stream, the same on every attempt
  uint32_t attempt;   // 1 on the first one
} saf_event;

// An event to store in the Channel's own stream.
typedef struct {
  saf_text subject;  // one of the Channel's emit.subjects
  saf_text data;
  saf_text content_type;  // optional
  const saf_header *headers;
  size_t header_count;
  saf_text id;  // optional; normally none: the router derives one, so that a repeated attempt stores nothing twice
} saf_emission;

enum saf_kind { SAF_DONE, SAF_RETRY, SAF_REJECT };

// Made by the functions below; tests read it.
typedef struct {
  enum saf_kind kind;
  const saf_emission *emissions;  // of SAF_DONE
  size_t emission_count;
  saf_text reason;          // of SAF_RETRY and SAF_REJECT
  uint32_t after_millis;    // of SAF_RETRY
} saf_answer;

// ---- What a Channel defines ----

// Called once for each attempt, one at a time. Static variables live from event to event, until the instance is dropped.
saf_answer saf_handle(const saf_event *event);

// Optional. Called once in each instance, before any event, with the Channel's config table as JSON ({} without one). A text
// refuses the configuration: the Channel is faulted, and events wait. SAF_ACCEPTED accepts it.
saf_text saf_init(saf_text config);
#define SAF_ACCEPTED (saf_none())

// ---- Answers ----

// Nothing to say.
saf_answer saf_done(void);
// One emission.
saf_answer saf_emit(saf_emission emission);
// Several, stored all or none; the array must live as long as the event.
saf_answer saf_emit_all(const saf_emission *emissions, size_t count);
// The event again, after that many milliseconds; SAF_BACKOFF takes the next step of the Channel's backoff.
saf_answer saf_retry(saf_text reason, uint32_t after_millis);
#define SAF_BACKOFF 0
// The event can never be handled: it becomes a dead letter now.
saf_answer saf_reject(saf_text reason);

// ---- Help ----

// Memory for anything, all zero, until the answer was read. Never NULL: too much is a trap.
void *saf_alloc(size_t size);
saf_text saf_none(void);
// Two texts as one.
saf_text saf_join(saf_text first, saf_text second);
// As printf; the one function here that makes a component larger (by some 10 KB).
saf_text saf_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
bool saf_equal(saf_text a, saf_text b);
// The first value of a header, by its lower-case name.
saf_text saf_header_value(const saf_event *event, const char *name);
// A line that the router logs at info, as printf; what goes to stderr is logged at warn. stdout itself is buffered, and nobody
// flushes it when an event ends.
void saf_log(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Ends the instance with a trap; the message, with file and line, stands on stderr and in the dead letter.
#define saf_trap(message) saf_trap_at(message, __FILE__, __LINE__)
void saf_trap_at(const char *message, const char *file, int line) __attribute__((noreturn));

#ifdef __cplusplus
}
#endif
