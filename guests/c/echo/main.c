// Gives each event back: the same data and content type, on echo.<subject>.
#include "saf.h"

saf_answer saf_handle(const saf_event *event) {
  return saf_emit((saf_emission){
      .subject = saf_join(SAF("echo."), event->subject),
      .data = event->data,
      .content_type = event->content_type,
  });
}
