// What the QuickJS engine lacks: console, TextEncoder and TextDecoder. StarlingMonkey has them, and keeps its own.

import { Decoder, Encoder } from './text.js';
import { console } from './console.js';

export { open } from './console.js';

globalThis.console ??= console;
globalThis.TextEncoder ??= Encoder;
globalThis.TextDecoder ??= Decoder;
