// Summarises GitHub webhooks: a raw webhook body on github.<event> becomes a small JSON object on
// github.<event>.<action>.summary (github.<event>.summary when the payload has no action). What is no JSON object, or came on
// another subject, is rejected: it would fail again on every attempt.
#include <string.h>

#include "saf.h"
#include "summary.h"

// Longest action in a subject, in characters: a sender of repository_dispatch chooses it freely, and subjects end at 255 bytes.
enum { MAX_ACTION_CHARACTERS = 64 };

// An action as one token of a subject: a dot would make two, and wildcards and white space are refused.
static saf_text token(saf_text action) {
  char *made = saf_alloc(MAX_ACTION_CHARACTERS);
  size_t size = 0;
  for (size_t i = 0; i < action.size && size < MAX_ACTION_CHARACTERS; i++) {
    unsigned char c = (unsigned char)action.at[i];
    // The rest of a character that has begun.
    if ((c & 0xc0) == 0x80) continue;
    bool allowed = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    made[size++] = allowed ? (char)c : '-';
  }
  return (saf_text){made, size};
}

saf_answer saf_handle(const saf_event *event) {
  saf_text subject = event->subject, prefix = SAF("github.");
  bool below = subject.size >= prefix.size && memcmp(subject.at, prefix.at, prefix.size) == 0;
  saf_text name = below ? (saf_text){subject.at + prefix.size, subject.size - prefix.size} : saf_none();
  if (!below || (name.size && memchr(name.at, '.', name.size)))
    return saf_reject(saf_join(subject, SAF(" is not github.<event>")));
  summary made;
  saf_text problem = summarise(name, event->data, &made);
  if (problem.at)
    return saf_reject(saf_join(SAF("not a webhook's JSON (its content type must be application/json): "), problem));
  if (made.action.size) subject = saf_join(saf_join(subject, SAF(".")), token(made.action));
  return saf_emit((saf_emission){
      .subject = saf_join(subject, SAF(".summary")),
      .data = made.data,
      .content_type = SAF("application/json"),
  });
}
