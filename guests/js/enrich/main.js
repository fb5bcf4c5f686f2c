// Adds `"enriched": true` to a JSON object and emits it on `enriched.<subject>`; the other keys keep their order. Data that is
// no JSON object is rejected: it would fail again on every attempt.

import { channel, emit, reject } from 'saf-channel';

export const handler = channel((event) => {
  const document = event.json();
  if (document === null || typeof document !== 'object' || Array.isArray(document)) reject('not a JSON object');
  document.enriched = true;
  return emit(`enriched.${event.subject}`, document);
});
