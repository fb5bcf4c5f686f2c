/** A value that JSON can hold. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** What an emission's data may be: bytes as they are, text as UTF-8, anything else as JSON. */
export type Data = Uint8Array | ArrayBuffer | string | number | boolean | null | object;

/** The contract's own event: what the router hands to a component. */
export interface EventFields {
  /** Dot-separated tokens, such as `ride.accepted`. */
  subject: string;
  /** The payload, byte for byte as it was posted. */
  data?: Uint8Array;
  /** The media type of `data`, when the sender gave one. */
  contentType?: string | null;
  /** Names are lower case; a name may occur more than once. */
  headers?: [string, string][];
  /** Unique within the subject. */
  id?: string;
  /** When the router stored it: milliseconds since the Unix epoch. */
  time?: number | bigint;
  /** Its place in the stream; the same on every attempt. Exact up to 2^53. */
  sequence?: number | bigint;
  /** 1 on the first attempt. */
  attempt?: number;
}

/** An event, as the router stored it. */
export class Event {
  constructor(fields: EventFields);
  readonly subject: string;
  readonly data: Uint8Array;
  readonly contentType: string | null;
  readonly headers: [string, string][];
  readonly id: string;
  readonly time: number;
  readonly sequence: number;
  readonly attempt: number;
  /** `data` as UTF-8; anything else is rejected. */
  text(): string;
  /** `data` as JSON; anything else is rejected. The type is what you say it is: nothing checks it. */
  json<T = any>(): T;
  /** The first value of a header, `null` when there is none. */
  header(name: string): string | null;
}

/** An event that the router is asked to store; `emit` makes it. */
export class Emission {
  private constructor();
  readonly subject: string;
  readonly data: Uint8Array;
  readonly contentType: string | null;
  readonly headers: [string, string][];
  readonly id: string | null;
}

/** What `emit` takes beside subject and data. */
export interface EmitOptions {
  /** Instead of the one that follows from the data: none for bytes, `text/plain` for text, `application/json` otherwise. */
  contentType?: string | null;
  headers?: Iterable<[string, string]> | Record<string, string>;
  /** Normally left out: the router derives one, so that a repeated attempt stores nothing twice. */
  id?: string | null;
}

/** An emission; it is stored when the handler returns it. */
export function emit(subject: string, data?: Data, options?: EmitOptions): Emission;

/** What a handler may return; nothing means: done, nothing to say. */
export type Answer = Emission | Iterable<Emission> | null | undefined | void;

/** Called once for each attempt, one at a time in an instance. Not async: the contract is synchronous. */
export type Handle = (event: Event) => Answer;

/** What the contract wants exported under the name `handler`. */
export interface Handler {
  init(config: string): void;
  handle(event: EventFields): Emission[];
}

/**
 * Makes a Channel of a function: `export const handler = channel(handle)`.
 *
 * `init` is called once in each instance, before any event, with the Channel's `config` table. `reject` in it, or any error,
 * refuses the configuration: the Channel is shown as faulted and tried again.
 */
export function channel(handle: Handle, options?: { init?: (config: any) => void }): Handler;

/**
 * Have the event delivered again, after `afterMs` milliseconds; without it after the next step of the Channel's backoff. The
 * reason is for a person, and is kept in the dead letter when the attempts are used up.
 */
export function retry(reason: string, afterMs?: number): never;

/** Have the event made a dead letter now, with this reason for a person. */
export function reject(reason: string): never;

/** End this instance by a trap: for a state that no later event should meet. The event comes again, in a new instance. */
export function abort(reason: string): never;

/** What `retry` throws. */
export class Retry extends Error {
  constructor(reason: string, afterMs?: number | null);
  readonly afterMs: number | null;
}

/** What `reject` throws. */
export class Reject extends Error {
  constructor(reason: string);
}

/** What `abort` throws. */
export class Abort extends Error {
  constructor(reason: string);
}

// What a Channel finds in every engine; a subset of the web's, which TypeScript's "dom" library describes in full.
declare global {
  interface Console {
    trace(...values: unknown[]): void;
    debug(...values: unknown[]): void;
    log(...values: unknown[]): void;
    info(...values: unknown[]): void;
    warn(...values: unknown[]): void;
    error(...values: unknown[]): void;
    assert(condition?: unknown, ...values: unknown[]): void;
  }
  var console: Console;

  interface TextEncoder {
    readonly encoding: string;
    encode(text?: string): Uint8Array<ArrayBuffer>;
  }
  var TextEncoder: { prototype: TextEncoder; new (): TextEncoder };

  interface TextDecoder {
    readonly encoding: string;
    readonly fatal: boolean;
    readonly ignoreBOM: boolean;
    decode(data?: ArrayBufferView | ArrayBuffer): string;
  }
  var TextDecoder: {
    prototype: TextDecoder;
    new (label?: string, options?: { fatal?: boolean; ignoreBOM?: boolean }): TextDecoder;
  };
}
