// Summarises GitHub webhooks: a raw webhook body on `github.<event>` becomes a small JSON object on
// `github.<event>.<action>.summary` (`github.<event>.summary` when the payload has no action). What is no JSON object, or came
// on another subject, is rejected: it would fail again on every attempt.

import { channel, emit, reject } from 'saf-channel';

// Longest action in a subject: a sender of `repository_dispatch` chooses it freely, and subjects end at 255 bytes.
const MAX_ACTION_CHARS = 64;

// A comment on an issue has the number, title, state and address.
const TOPICS = ['pull_request', 'discussion', 'issue', 'milestone'];

export const handler = channel((event) => {
  const name = /^github\.([^.]*)$/.exec(event.subject)?.[1];
  if (name === undefined) reject(`${event.subject} is not github.<event>`);
  const payload = event.json();
  if (!is.object(payload)) reject("not a webhook's JSON (its content type must be application/json): no object");
  const action = get(payload, 'action', 'string');
  const subject = action ? `github.${name}.${token(action)}.summary` : `github.${name}.summary`;
  return emit(subject, summary(name, payload));
});

// A flat object, without the fields that the payload does not have: JSON leaves out what is undefined.
function summary(name, payload) {
  const topic = TOPICS.map((key) => get(payload, key, 'object')).find((found) => found !== undefined);
  return {
    event: name,
    action: get(payload, 'action', 'string'),
    repository: get(get(payload, 'repository', 'object'), 'full_name', 'string'),
    organization: get(get(payload, 'organization', 'object'), 'login', 'string'),
    sender: get(get(payload, 'sender', 'object'), 'login', 'string'),
    number: get(topic, 'number', 'natural'),
    title: get(topic, 'title', 'string'),
    state: get(topic, 'state', 'string'),
    url: get(topic, 'html_url', 'string'),
    tag: get(get(payload, 'release', 'object'), 'tag_name', 'string'),
    ref: get(payload, 'ref', 'string'),
    commits: get(payload, 'commits', 'array')?.length,
  };
}

const is = {
  array: Array.isArray,
  natural: (value) => Number.isInteger(value) && value >= 0,
  object: (value) => typeof value === 'object' && value !== null && !Array.isArray(value),
  string: (value) => typeof value === 'string',
};

// A field that may be missing or null; of another kind it is none of GitHub's.
function get(of, key, kind) {
  const value = of?.[key] ?? undefined;
  if (value !== undefined && !is[kind](value)) reject(`not a webhook's JSON: ${key} is no ${kind}`);
  return value;
}

// An action as one token of a subject: a dot would make two, and wildcards and white space are refused.
function token(action) {
  return Array.from(action).slice(0, MAX_ACTION_CHARS).join('').replace(/[^A-Za-z0-9_-]/gu, '-');
}
