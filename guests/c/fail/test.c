// The Channel as the function it is, as far as a test survives it.
#include "check.h"

static saf_answer fail(const char *word) {
  return saf_handle(&(saf_event){.subject = SAF("a"), .data = {word, strlen(word)}});
}

int main(void) {
  check_text(saf_init(SAF("{\"init\": \"fail\"}")), "the configuration says: fail");
  check(saf_init(SAF("{}")).at == NULL);
  check(fail("retry").kind == SAF_RETRY && fail("retry").after_millis == 1500);
  check(fail("backoff").kind == SAF_RETRY && fail("backoff").after_millis == SAF_BACKOFF);
  check_text(fail("reject").reason, "never");
  check(fail("nonsense").kind == SAF_REJECT);
  saf_answer counted = fail("count");
  check_text(counted.emissions[0].data, "7");
  check_text(counted.emissions[0].subject, "fail.count");
  return checked();
}
