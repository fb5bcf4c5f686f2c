// Gives each event back: the same data and content type, on echo.<subject>. C++ without exceptions, RTTI and its library.
#include "saf.h"

saf_answer saf_handle(const saf_event *event) {
  saf_emission emission{};
  emission.subject = saf_join(SAF("echo."), event->subject);
  emission.data = event->data;
  emission.content_type = event->content_type;
  return saf_emit(emission);
}
