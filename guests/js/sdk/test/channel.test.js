import assert from 'node:assert/strict';
import test from 'node:test';

import { Emission, Event, abort, channel, emit, reject, retry } from 'saf-channel';
import { event, run, start } from 'saf-channel/testing';

const bytes = (text) => new TextEncoder().encode(text);

test('what a handler may return', () => {
  const one = emit('a', bytes('1'));
  const cases = [
    [() => undefined, []],
    [() => null, []],
    [() => one, [one]],
    [() => [], []],
    [() => [one, one], [one, one]],
    [() => new Set([one]), [one]],
    [
      function* () {
        yield one;
        yield one;
      },
      [one, one],
    ],
  ];
  for (const [handle, expected] of cases) {
    assert.deepEqual(channel(handle).handle(new Event({ subject: 'x' })), expected, `${handle}`);
  }
});

test('anything else is a retry that says what to return', () => {
  for (const returned of [1, 'text', {}, [{ subject: 'a' }], Promise.resolve([])]) {
    const { retry } = run(channel(() => returned), event('x'));
    assert.match(retry.reason, /^TypeError: the handler returned .*: return what emit\(\) gives/);
  }
  assert.match(run(channel(async () => {}), event('x')).retry.reason, /a promise \(a handler is synchronous\)/);
});

test('data decides the content type, unless one is given', () => {
  const cases = [
    [emit('s'), '', null],
    [emit('s', bytes('b')), 'b', null],
    [emit('s', bytes('b').buffer), 'b', null],
    [emit('s', 'größe'), 'größe', 'text/plain; charset=utf-8'],
    [emit('s', { b: [1, null], a: 'ü' }), '{"b":[1,null],"a":"ü"}', 'application/json'],
    [emit('s', null), 'null', 'application/json'],
    [emit('s', 1.5), '1.5', 'application/json'],
    [emit('s', '<a/>', { contentType: 'text/xml' }), '<a/>', 'text/xml'],
    [emit('s', '<a/>', { contentType: null }), '<a/>', null],
  ];
  for (const [emission, data, contentType] of cases) {
    assert.ok(emission instanceof Emission);
    assert.equal(new TextDecoder().decode(emission.data), data);
    assert.equal(emission.contentType, contentType, data);
  }
  assert.throws(() => emit('s', () => 1), /a function is no data/);
  assert.throws(() => emit('s', { n: 1n }), TypeError);
});

test('headers are pairs or an object', () => {
  const pairs = [['x-a', '1'], ['x-b', '2']];
  assert.deepEqual(emit('s', '', { headers: pairs }).headers, pairs);
  assert.deepEqual(emit('s', '', { headers: new Map(pairs) }).headers, pairs);
  assert.deepEqual(emit('s', '', { headers: { 'x-a': '1', 'x-b': '2' } }).headers, pairs);
});

test('the ways to fail', () => {
  const cases = [
    [() => retry('busy'), { retry: { reason: 'busy', afterMs: null } }],
    [() => retry('busy', 1500), { retry: { reason: 'busy', afterMs: 1500 } }],
    [() => reject('never'), { reject: 'never' }],
    [() => abort('broken'), { trap: 'broken' }],
    // Deep in a generator too, after an emission.
    [
      function* () {
        yield emit('a');
        reject('never');
      },
      { reject: 'never' },
    ],
  ];
  for (const [handle, expected] of cases) assert.deepEqual(run(channel(handle), event('x')), expected);
});

test('an error is a retry that names the place', () => {
  function thrower() {
    throw new RangeError('too far');
  }
  const { reason } = run(channel(thrower), event('x')).retry;
  const [first, second, ...rest] = reason.split('\n');
  assert.match(first, /^RangeError: too far \(channel\.test\.js:\d+\)$/);
  assert.match(second, /^\s+at thrower .*channel\.test\.js:\d+:\d+\)$/);
  assert.ok(!rest.some((line) => line.includes('/src/index.js')), reason);
});

test('a cause is told, what is no error too, and all is cut', () => {
  const caused = () => {
    throw new Error('outer', { cause: new Error('inner') });
  };
  assert.match(run(channel(caused), event('x')).retry.reason, /^Error: outer [^]*\ncaused by Error: inner\n/);
  const odd = () => {
    throw 'text';
  };
  assert.equal(run(channel(odd), event('x')).retry.reason, 'thrown: text');
  const long = () => {
    throw new Error('x'.repeat(10_000));
  };
  assert.equal(run(channel(long), event('x')).retry.reason.length, 4000);
});

test('a configuration is taken or refused', () => {
  let seen;
  const taking = channel(() => {}, { init: (config) => (seen = config) });
  assert.deepEqual(start(taking, { greeting: 'hi' }), { ready: true });
  assert.deepEqual(seen, { greeting: 'hi' });
  assert.deepEqual(start(channel(() => {})), { ready: true });
  assert.deepEqual(start(channel(() => {}, { init: () => reject('no greeting') })), { refused: 'no greeting' });
  const broken = channel(() => {}, { init: (config) => config.a.b });
  assert.match(start(broken).refused, /^TypeError: .* \(channel\.test\.js:\d+\)\n/);
});

test('what an event offers', () => {
  const it = event('a', { x: 1 }, { headers: [['x-a', '1'], ['x-a', '2']], sequence: 5n, time: 7n });
  assert.deepEqual(it.json(), { x: 1 });
  assert.equal(it.text(), '{"x":1}');
  assert.equal(it.contentType, 'application/json');
  assert.deepEqual([it.header('X-A'), it.header('x-b')], ['1', null]);
  assert.deepEqual([it.sequence, it.time, it.attempt], [5, 7, 1]);
});

test('data that is not what it should be is rejected', () => {
  const json = channel((event) => void event.json());
  for (const data of ['', '{', 'NaN', '{} {}', '\ufeff{}', new Uint8Array([0x22, 0xff, 0x22])]) {
    assert.match(run(json, event('x', typeof data === 'string' ? bytes(data) : data)).reject, /^not (JSON|UTF-8)/);
  }
});
