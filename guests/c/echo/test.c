// The Channel as the function it is.
#include "check.h"

int main(void) {
  saf_answer answer = saf_handle(&(saf_event){.subject = SAF("a.b"), .data = SAF("x"), .content_type = SAF("text/plain")});
  check(answer.kind == SAF_DONE && answer.emission_count == 1);
  check_text(answer.emissions[0].subject, "echo.a.b");
  check_text(answer.emissions[0].data, "x");
  check_text(answer.emissions[0].content_type, "text/plain");
  answer = saf_handle(&(saf_event){.subject = SAF("a"), .data = SAF("")});
  check(answer.emissions[0].content_type.at == NULL && answer.emissions[0].data.size == 0);
  return checked();
}
