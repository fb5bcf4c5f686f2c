// What is emitted: a flat object, without the fields that the payload does not have.
#pragma once

#include "saf.h"

typedef struct {
  saf_text action;  // as text; none or empty when the payload has none
  saf_text data;    // the object
} summary;

// Of an event's name and its payload. A text says why there is none.
saf_text summarise(saf_text event, saf_text payload, summary *made);
