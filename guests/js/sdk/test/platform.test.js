// What the SDK brings to an engine that has less, against what Node has.

import assert from 'node:assert/strict';
import test from 'node:test';

import { shown } from '../src/platform/shown.js';
import { Decoder, Encoder } from '../src/platform/text.js';

// The engine has them; Node has them from 25 on.
Uint8Array.prototype.toBase64 ??= function () {
  return Buffer.from(this).toString('base64');
};
Uint8Array.fromBase64 ??= (text) => new Uint8Array(Buffer.from(text, 'base64'));

const TEXTS = ['', 'ascii', 'größe', '👍', 'a\0b', '\ufeffmark', '\ud800', 'x\udfffy', 'ü'.repeat(20_000), 'a'.repeat(20_001), `${'a'.repeat(63)}é`, `${'a'.repeat(64)}é${'b'.repeat(40)}`, 'Ā'];

test('text becomes the bytes that it becomes in Node', () => {
  for (const text of TEXTS) {
    assert.deepEqual(new Encoder().encode(text), new TextEncoder().encode(text), text.slice(0, 20));
  }
  assert.deepEqual(new Encoder().encode(), new Uint8Array());
});

test('bytes become the text that they become in Node', () => {
  const samples = TEXTS.map((text) => new TextEncoder().encode(text));
  const parts = [[0x41], [0xc3, 0xbc], [0xe2, 0x82, 0xac], [0xf0, 0x9f, 0x91, 0x8d], [0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80]];
  const torn = [[0xe2, 0x82], [0xf0, 0x9f], [0xf0, 0x80, 0x80, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe0, 0x80, 0x80], [0x80]];
  for (const a of [...parts, ...torn]) for (const b of [...parts, ...torn]) samples.push(new Uint8Array([...a, ...b, 0x2e]));
  for (const options of [{}, { fatal: true }, { ignoreBOM: true }]) {
    const [ours, theirs] = [new Decoder('utf-8', options), new TextDecoder('utf-8', options)];
    for (const bytes of samples) {
      assert.equal(attempt(ours, bytes), attempt(theirs, bytes), `${JSON.stringify(options)} ${bytes.slice(0, 8)}`);
    }
  }
});

test('every byte counts, wherever it stands and wherever the bytes begin', () => {
  const whole = new Uint8Array(200).fill(0x61);
  for (let start = 0; start < 9; start++) {
    for (let at = start; at < whole.length; at++) {
      whole[at] = 0xff;
      assert.equal(new Decoder().decode(whole.subarray(start)).charCodeAt(at - start), 0xfffd, `${at} from ${start}`);
      whole[at] = 0x61;
    }
  }
});

test('every kind of view is decoded', () => {
  const bytes = new TextEncoder().encode('xgröße');
  const part = new DataView(bytes.buffer, 1);
  for (const data of [bytes.subarray(1), part, bytes.slice(1).buffer]) assert.equal(new Decoder().decode(data), 'größe');
  assert.equal(new Decoder().decode(), '');
  assert.throws(() => new Decoder('latin1'), RangeError);
});

test('a logged value is readable', () => {
  const circle = {};
  circle.self = circle;
  const cases = [
    ['text', 'text'],
    [1, '1'],
    [undefined, 'undefined'],
    [null, 'null'],
    [5n, '5'],
    [{ a: [1, 'x'], n: 2n }, '{"a":[1,"x"],"n":"2n"}'],
    [circle, '[object Object]'],
  ];
  for (const [value, expected] of cases) assert.equal(shown(value), expected);
  assert.match(shown(new TypeError('bad')), /^TypeError: bad\n[^]*platform\.test\.js/);
});

function attempt(decoder, bytes) {
  try {
    return decoder.decode(bytes);
  } catch (e) {
    return e.name;
  }
}
