// Channels for saf in JavaScript and TypeScript: a function that takes an event and returns what it emits.
//
//     import { channel, emit } from 'saf-channel';
//     export const handler = channel((event) => emit(`echo.${event.subject}`, event.data));
//
// What the function does decides what becomes of the event: it returns nothing, what `emit` gives, or an iterable of that
// (so it may be a generator): done, the emissions are stored. It calls `retry` or `reject`. It throws anything else: a retry
// whose reason is the error with its stack. It calls `abort`: a trap, and the instance with its state is gone.
//
// Types and their docs stand in index.d.ts. Deliberately absent: promises. The contract is synchronous, and the engine's
// asynchronous variant needs what the router's engine does not offer.

import { open } from 'saf-channel/platform';

// The router keeps 4 KiB of a reason; the innermost frames come first in a stack, so the end is what is cut.
const MAX_REASON_CHARS = 4000;

const encoder = new TextEncoder();
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

export class Retry extends Error {
  constructor(reason, afterMs = null) {
    super(reason);
    this.name = 'Retry';
    this.afterMs = afterMs;
  }
}

export class Reject extends Error {
  constructor(reason) {
    super(reason);
    this.name = 'Reject';
  }
}

export class Abort extends Error {
  constructor(reason) {
    super(reason);
    this.name = 'Abort';
  }
}

export function retry(reason, afterMs) {
  throw new Retry(reason, afterMs);
}

export function reject(reason) {
  throw new Reject(reason);
}

export function abort(reason) {
  throw new Abort(reason);
}

export class Event {
  constructor(fields) {
    this.subject = fields.subject;
    this.data = fields.data ?? new Uint8Array();
    this.contentType = fields.contentType ?? null;
    this.headers = fields.headers ?? [];
    this.id = fields.id ?? '1';
    // A bigint in some engines; a number holds every millisecond and every sequence that will come up.
    this.time = Number(fields.time ?? 0);
    this.sequence = Number(fields.sequence ?? 1);
    this.attempt = fields.attempt ?? 1;
  }

  text() {
    try {
      return strict.decode(this.data);
    } catch {
      return reject('not UTF-8');
    }
  }

  json() {
    const text = this.text();
    try {
      return JSON.parse(text);
    } catch (e) {
      return reject(`not JSON: ${e.message}`);
    }
  }

  header(name) {
    const wanted = name.toLowerCase();
    return this.headers.find(([key]) => key === wanted)?.[1] ?? null;
  }
}

export class Emission {
  constructor(subject, data, contentType, headers, id) {
    this.subject = subject;
    this.data = data;
    this.contentType = contentType;
    this.headers = headers;
    this.id = id;
  }
}

export function emit(subject, data, options = {}) {
  const [bytes, implied] = encode(data);
  const { contentType = implied, headers = [], id = null } = options;
  const pairs = Symbol.iterator in headers ? [...headers] : Object.entries(headers);
  return new Emission(subject, bytes, contentType, pairs, id);
}

function encode(data) {
  if (data instanceof Uint8Array) return [data, null];
  if (data instanceof ArrayBuffer) return [new Uint8Array(data), null];
  if (data === undefined) return [new Uint8Array(), null];
  if (typeof data === 'string') return [encoder.encode(data), 'text/plain; charset=utf-8'];
  const text = JSON.stringify(data);
  if (text === undefined) throw new TypeError(`a ${typeof data} is no data: give JSON, text or bytes`);
  return [encoder.encode(text), 'application/json'];
}

export function channel(handle, { init } = {}) {
  return {
    init(config) {
      open();
      if (!init) return;
      try {
        init(JSON.parse(config));
      } catch (e) {
        // A string thrown is the contract's error; an Error would be too, without its stack.
        throw e instanceof Reject ? e.message : reasonOf(e);
      }
    },
    handle(event) {
      try {
        return emissions(handle(new Event(event)));
      } catch (e) {
        throw failure(e);
      }
    },
  };
}

function emissions(returned) {
  if (returned === undefined || returned === null) return [];
  if (returned instanceof Emission) return [returned];
  const list = typeof returned[Symbol.iterator] === 'function' ? Array.from(returned) : [returned];
  for (const emission of list) {
    if (emission instanceof Emission) continue;
    const what = emission instanceof Promise ? 'a promise (a handler is synchronous)' : String(emission);
    throw new TypeError(`the handler returned ${what}: return what emit() gives, an iterable of that, or nothing`);
  }
  return list;
}

// In the contract's words; what is thrown and is none of them traps.
function failure(e) {
  if (e instanceof Abort) return e;
  if (e instanceof Reject) return { tag: 'reject', val: e.message };
  if (e instanceof Retry) return { tag: 'retry', val: { reason: e.message, afterMs: e.afterMs } };
  return { tag: 'retry', val: { reason: reasonOf(e), afterMs: null } };
}

// The error in one line, with the place it came from, then its stack.
function reasonOf(e) {
  if (!(e instanceof Error)) return `thrown: ${String(e)}`.slice(0, MAX_REASON_CHARS);
  const frames = framesOf(e);
  const place = /([^/()\s]+:\d+):\d+\)?$/.exec(frames[0] ?? '')?.[1];
  const lines = [`${e.name}: ${e.message}${place ? ` (${place})` : ''}`, ...frames];
  // Two deep: an error that causes itself must end.
  if (e.cause instanceof Error) lines.push(`caused by ${e.cause.name}: ${e.cause.message}`, ...framesOf(e.cause));
  return lines.join('\n').slice(0, MAX_REASON_CHARS);
}

// Without the message, which some engines put in front, and without this file's own.
function framesOf(e) {
  const frames = (e.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  const own = frames.findIndex((line) => line.includes('/saf-channel/src/') || line.includes('/sdk/src/'));
  return own > 0 ? frames.slice(0, own) : frames;
}
