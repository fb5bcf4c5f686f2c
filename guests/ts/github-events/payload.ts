// What a summary needs from a webhook's payload. Every field may be missing or null: no event has them all. A field of another
// type is none of GitHub's, so the event is rejected.

import { reject, type Json } from 'saf-channel';

interface Kinds {
  array: Json[];
  natural: number;
  object: JsonObject;
  string: string;
}

export type JsonObject = { [key: string]: Json };

const is: { [K in keyof Kinds]: (value: Json) => value is Kinds[K] } = {
  array: (value) => Array.isArray(value),
  natural: (value): value is number => Number.isInteger(value) && (value as number) >= 0,
  object: (value): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value),
  string: (value) => typeof value === 'string',
};

export function parse(json: Json): JsonObject {
  if (is.object(json)) return json;
  return reject("not a webhook's JSON (its content type must be application/json): no object");
}

export function get<K extends keyof Kinds>(of: JsonObject | undefined, key: string, kind: K): Kinds[K] | undefined {
  const value = of?.[key] ?? undefined;
  if (value === undefined || is[kind](value)) return value;
  return reject(`not a webhook's JSON: ${key} is no ${kind}`);
}
