// Adds "enriched": true to a JSON object and emits it on enriched.<subject>; the other keys keep their order. Data that is no
// JSON object is rejected: it would fail again on every attempt.
#include "json.h"
#include "saf.h"

saf_answer saf_handle(const saf_event *event) {
  json_object object;
  saf_text problem = json_parse(event->data, &object);
  if (problem.at) return saf_reject(saf_join(SAF("not a JSON object: "), problem));
  json_set(&object, "enriched", SAF("true"));
  return saf_emit((saf_emission){
      .subject = saf_join(SAF("enriched."), event->subject),
      .data = json_text(&object),
      .content_type = SAF("application/json"),
  });
}
