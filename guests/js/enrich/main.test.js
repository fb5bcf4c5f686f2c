// How an author tests a Channel: as the function it is. `npm test`

import assert from 'node:assert/strict';
import test from 'node:test';

import { event, run } from 'saf-channel/testing';

import { handler } from './main.js';

test('an object gains a field', () => {
  const expected = { subject: 'enriched.ride', data: { driver: 7, enriched: true }, contentType: 'application/json' };
  assert.deepEqual(run(handler, event('ride', { driver: 7 })), { emissions: [expected] });
});

test('anything else is rejected', () => {
  for (const data of [[1], 'hello', null, new Uint8Array([0xff])]) {
    assert.match(run(handler, event('ride', data)).reject, /^not /, `${data}`);
  }
});
