// A console over wasi:logging, the engine's only way out. It has the methods that write a line; no groups, counters, tables
// or timers.
//
// Module top level runs when the component is built, where there is nothing to log to: what it writes is kept, and written by
// each instance as it starts.

import logging from 'wasi:logging/logging@0.1.0-draft';
import { shown } from './shown.js';

const MAX_EARLY_LINES = 100;

let early = [];

/** From now on lines are written; those that were kept come first. */
export function open() {
  const lines = early ?? [];
  early = null;
  for (const line of lines) logging.log(...line);
}

function write(level, values) {
  const line = [level, '', values.map(shown).join(' ')];
  if (early === null) logging.log(...line);
  else if (early.length < MAX_EARLY_LINES) early.push(line);
}

export const console = {
  trace: (...values) => write('trace', values),
  debug: (...values) => write('debug', values),
  log: (...values) => write('info', values),
  info: (...values) => write('info', values),
  warn: (...values) => write('warn', values),
  error: (...values) => write('error', values),
  assert(condition, ...values) {
    if (!condition) write('error', ['Assertion failed', ...values]);
  },
};
