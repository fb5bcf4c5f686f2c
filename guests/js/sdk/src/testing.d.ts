import type { Data, Event, EventFields, Handler } from 'saf-channel';

/** An emission as a test wants to read it: JSON and text are decoded, what is not set is left out. */
export interface Readable {
  subject: string;
  data: any;
  contentType?: string;
  headers?: [string, string][];
  id?: string;
}

/** What the router would see of a call. */
export type Outcome =
  | { emissions: Readable[] }
  | { retry: { reason: string; afterMs: number | null } }
  | { reject: string }
  | { trap: string };

/** An event whose data and content type are made as `emit` makes them. */
export function event(subject: string, data?: Data, fields?: Omit<EventFields, 'subject' | 'data'>): Event;

/** Calls `init` with a configuration. */
export function start(handler: Handler, config?: object): { ready: true } | { refused: string };

/** Calls `handle`; an error that it throws is a `retry`, as in the router. */
export function run(handler: Handler, event: EventFields): Outcome;
