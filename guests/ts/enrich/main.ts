// Adds `"enriched": true` to a JSON object and emits it on `enriched.<subject>`; the other keys keep their order. Data that is
// no JSON object is rejected: it would fail again on every attempt.

import { channel, emit, reject, type Emission, type Event, type Json } from 'saf-channel';

type JsonObject = { [key: string]: Json };

export function handle(event: Event): Emission {
  const document = event.json<Json>();
  if (!isObject(document)) return reject('not a JSON object');
  document.enriched = true;
  return emit(`enriched.${event.subject}`, document);
}

function isObject(json: Json): json is JsonObject {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

export const handler = channel(handle);
