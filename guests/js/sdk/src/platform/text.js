// UTF-8 both ways in plain JavaScript, shaped like the web's TextEncoder and TextDecoder. An interpreter pays hundreds of units
// of fuel for each byte it looks at, so the bytes go through the engine's own loops: base64 there and back is the cheapest way
// between bytes and a string of one character a byte (a tenth of a loop), eight words at once the cheapest look at
// whether it is ASCII, which most events are. Deliberately absent: other encodings and streaming.

const REPLACEMENT = 0xfffd;

export class Encoder {
  get encoding() {
    return 'utf-8';
  }

  encode(text = '') {
    const plain = String(text);
    return asciiBytes(plain) ?? toBytes(plain.toWellFormed().replace(/[^\0-\x7f]+/g, onePerByte));
  }
}

// `null` when it is not ASCII.
function asciiBytes(text) {
  try {
    const bytes = toBytes(text);
    return isAscii(bytes) ? bytes : null;
  } catch {
    return null; // Some characters do not fit a byte.
  }
}

// `escape` and `unescape` are old, and the one way between text and UTF-8 that the engine has.
const onePerByte = (run) => unescape(encodeURIComponent(run));
const fromOnePerByte = (run) => decodeURIComponent(escape(run));

const toBytes = (raw) => Uint8Array.fromBase64(btoa(raw));
const toRaw = (bytes) => atob(bytes.toBase64());

export class Decoder {
  #fatal;
  #keepsMark;

  constructor(label = 'utf-8', { fatal = false, ignoreBOM = false } = {}) {
    if (!/^utf-?8$/i.test(label)) throw new RangeError(`the only encoding here is UTF-8, not ${label}`);
    this.#fatal = fatal;
    this.#keepsMark = ignoreBOM;
  }

  get encoding() {
    return 'utf-8';
  }

  get fatal() {
    return this.#fatal;
  }

  get ignoreBOM() {
    return this.#keepsMark;
  }

  decode(data = new Uint8Array()) {
    const text = this.#text(bytesOf(data));
    return !this.#keepsMark && text.charCodeAt(0) === 0xfeff ? text.slice(1) : text;
  }

  #text(bytes) {
    const raw = toRaw(bytes);
    if (isAscii(bytes)) return raw;
    try {
      // A character lies within one run.
      return raw.replace(/[\x80-\xff]+/g, fromOnePerByte);
    } catch {
      if (this.#fatal) throw new TypeError('The encoded data was not valid UTF-8');
      return lenient(bytes);
    }
  }
}

function bytesOf(data) {
  if (data instanceof Uint8Array) return data;
  if (ArrayBuffer.isView(data)) return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return new Uint8Array(data);
}

function isAscii(bytes) {
  const whole = bytes.length - (bytes.length % 32);
  const start = bytes.byteOffset;
  // Words begin at multiples of four; a part of something larger may not.
  const buffer = start % 4 === 0 ? bytes.buffer : bytes.slice(0, whole).buffer;
  const w = new Uint32Array(buffer, start % 4 === 0 ? start : 0, whole / 4);
  let bits = 0;
  for (let i = 0; i < w.length; i += 8) {
    bits |= w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7];
  }
  for (let i = whole; i < bytes.length; i++) bits |= bytes[i];
  return (bits & 0x80808080) === 0;
}

// As the web's standard has it: each longest piece that could have begun a character becomes one replacement.
function lenient(bytes) {
  let text = '';
  for (let at = 0; at < bytes.length; ) {
    const [point, taken] = next(bytes, at);
    text += String.fromCodePoint(point);
    at += taken;
  }
  return text;
}

// The character that begins at a byte, and how many bytes it takes.
function next(bytes, at) {
  const first = bytes[at];
  if (first < 0x80) return [first, 1];
  if (first < 0xc2 || first > 0xf4) return [REPLACEMENT, 1];
  const length = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
  // The second byte is bound further: no overlong forms, no surrogates, nothing beyond U+10FFFF.
  let [low, high] = { 0xe0: [0xa0, 0xbf], 0xed: [0x80, 0x9f], 0xf0: [0x90, 0xbf], 0xf4: [0x80, 0x8f] }[first] ?? [0x80, 0xbf];
  let point = first & (0x7f >> length);
  for (let taken = 1; taken < length; taken++) {
    const byte = bytes[at + taken];
    if (byte === undefined || byte < low || byte > high) return [REPLACEMENT, taken];
    [low, high] = [0x80, 0xbf];
    point = (point << 6) | (byte & 0x3f);
  }
  return [point, length];
}
