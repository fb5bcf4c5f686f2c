// Fails as the event's data says, one word: what a Channel can do wrong, for tests. guests/cases/README.md has the words.
#include <stdio.h>
#include <string.h>

#include "json.h"
#include "saf.h"

static unsigned seen;

saf_text saf_init(saf_text config) {
  json_object asked;
  saf_text problem = json_parse(config, &asked);
  if (problem.at) return problem;
  if (saf_equal(json_get(&asked, "init"), SAF("\"fail\""))) return SAF("the configuration says: fail");
  return SAF_ACCEPTED;
}

static saf_answer spin(void) {
  for (volatile unsigned turns = 0;; turns++) {
  }
}

static saf_answer count(void) {
  return saf_emit((saf_emission){.subject = SAF("fail.count"), .data = saf_format("%u", seen)});
}

static saf_answer print(void) {
  saf_log("to stdout");
  fprintf(stderr, "to stderr\n");
  return saf_done();
}

saf_answer saf_handle(const saf_event *event) {
  seen++;
  saf_text word = event->data;
  if (saf_equal(word, SAF("retry"))) return saf_retry(SAF("not yet"), 1500);
  if (saf_equal(word, SAF("backoff"))) return saf_retry(SAF("not yet"), SAF_BACKOFF);
  if (saf_equal(word, SAF("reject"))) return saf_reject(SAF("never"));
  // C has no exception: what comes nearest is to end with words.
  if (saf_equal(word, SAF("throw"))) saf_trap("an exception");
  if (saf_equal(word, SAF("trap"))) saf_trap("asked to trap");
  if (saf_equal(word, SAF("spin"))) return spin();
  if (saf_equal(word, SAF("log"))) return print();
  if (saf_equal(word, SAF("count"))) return count();
  saf_text known = SAF(": known are retry, backoff, reject, throw, trap, spin, log, count");
  return saf_reject(saf_join(saf_join(SAF("unknown word: "), word), known));
}
