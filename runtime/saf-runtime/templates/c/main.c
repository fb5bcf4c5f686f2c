// Gives an event's text back in upper case.
#include "saf.h"

saf_answer saf_handle(const saf_event *event) {
  char *upper = saf_alloc(event->data.size);
  for (size_t i = 0; i < event->data.size; i++) {
    char c = event->data.at[i];
    upper[i] = 'a' <= c && c <= 'z' ? c - 'a' + 'A' : c;
  }
  return saf_emit((saf_emission){
      .subject = saf_join(event->subject, SAF(".done")),
      .data = {upper, event->data.size},
      .content_type = SAF("text/plain"),
  });
}
