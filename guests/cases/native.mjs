// Runs the shared cases and the known webhooks on a guest in JavaScript or TypeScript natively, for its tests: `handler` is
// called as a component's is. Cases that end by a limit need the router's sandbox, and are left to `saf-runtime test`.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';

const here = new URL('.', import.meta.url);
const LIMITS = ['fuel', 'timeout', 'memory', 'output'];

/** The cases in a folder, each with its `name`. */
export function cases(folder) {
  const files = readdirSync(new URL(`${folder}/`, here)).filter((name) => name.endsWith('.json'));
  const all = files.map((name) => ({ name, ...JSON.parse(readFileSync(new URL(`${folder}/${name}`, here), 'utf8')) }));
  return all.filter(({ expect }) => !LIMITS.some((limit) => limit in expect));
}

/** Calls a guest as the router does and asserts that it answers as the case says. */
export function check(handler, { event, config = {}, expect }) {
  const answer = start(handler, config) ?? call(handler, {
    id: 'case-1',
    time: 0,
    sequence: 1,
    attempt: 1,
    headers: [],
    ...event,
    data: bytes(event),
    contentType: event.content_type ?? null,
  });
  if (expect.emissions) return assert.deepEqual(answer, { emissions: expect.emissions.map(expected) });
  const [[kind, wanted]] = Object.entries(expect);
  const found = answer[kind];
  assert.ok(found !== undefined, `${kind} expected, got ${JSON.stringify(answer)}`);
  const { reason, after_ms } = typeof wanted === 'string' ? { reason: wanted } : wanted;
  assert.ok(found.reason.includes(reason), `${JSON.stringify(reason)} in ${found.reason}`);
  if (after_ms !== undefined) assert.equal(found.afterMs, after_ms);
}

/** The payloads that GitHub's community collected, with what Rust's guest makes of each; `null` when they are not at hand. */
export function webhooks() {
  const path = process.env.SAF_WEBHOOK_EXAMPLES;
  if (!path) return null;
  const lines = readFileSync(new URL('webhook-examples.txt', here), 'utf8').trimEnd().split('\n');
  const payloads = JSON.parse(readFileSync(path, 'utf8')).flatMap(({ name, examples }) =>
    examples.map((payload) => ({ subject: `github.${name}`, data: JSON.stringify(payload) })),
  );
  assert.equal(payloads.length, lines.length, 'webhook-examples.txt was made of another version of the payloads');
  return payloads.map((event, n) => {
    const space = lines[n].indexOf(' ');
    const emission = { subject: lines[n].slice(0, space), data: lines[n].slice(space + 1), content_type: 'application/json' };
    return { event, expect: { emissions: [emission] } };
  });
}

// Nothing when it starts.
function start(handler, config) {
  try {
    handler.init(JSON.stringify(config));
    return null;
  } catch (e) {
    return { init: { reason: String(e) } };
  }
}

function call(handler, event) {
  try {
    return { emissions: handler.handle(event).map((emission) => ({ ...emission, data: Buffer.from(emission.data) })) };
  } catch (e) {
    if (e.tag === 'reject') return { reject: { reason: e.val } };
    if (e.tag === 'retry') return { retry: e.val };
    return { trap: { reason: String(e) } };
  }
}

function expected({ subject, content_type = null, headers = [], id = null, ...data }) {
  return { subject, data: bytes(data), contentType: content_type, headers, id };
}

function bytes({ data = '', data_base64 }) {
  return data_base64 === undefined ? Buffer.from(data) : Buffer.from(data_base64, 'base64');
}
