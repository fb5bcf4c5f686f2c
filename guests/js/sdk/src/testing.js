// Runs a handler as the router would, without one: for `node --test`. Types and their docs stand in testing.d.ts.
//
// It has no limits and no sandbox: those are what `saf-runtime test` is for.

import { Event, emit } from 'saf-channel';

export function event(subject, data, { contentType, ...fields } = {}) {
  const made = emit(subject, data, contentType === undefined ? {} : { contentType });
  return new Event({ subject, data: made.data, contentType: made.contentType, ...fields });
}

export function start(handler, config = {}) {
  try {
    handler.init(JSON.stringify(config));
  } catch (e) {
    return { refused: String(e) };
  }
  return { ready: true };
}

export function run(handler, event) {
  try {
    return { emissions: handler.handle(event).map(readable) };
  } catch (e) {
    if (e.tag === 'reject') return { reject: e.val };
    if (e.tag === 'retry') return { retry: e.val };
    return { trap: e.message };
  }
}

function readable({ subject, data, contentType, headers, id }) {
  const emission = { subject, data: plain(data, contentType) };
  if (contentType !== null) emission.contentType = contentType;
  if (headers.length > 0) emission.headers = headers;
  if (id !== null) emission.id = id;
  return emission;
}

function plain(data, contentType) {
  if (contentType === 'application/json') return JSON.parse(new TextDecoder().decode(data));
  return contentType?.startsWith('text/') ? new TextDecoder().decode(data) : data;
}
