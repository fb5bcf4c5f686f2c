// Fails as the event's data says; the words stand in `guests/cases/README.md`.

import { abort, channel, emit, reject, retry } from 'saf-channel';

// Lives as long as the instance.
let seen = 0;

const words = {
  retry: () => retry('not yet', 1500),
  backoff: () => retry('not yet'),
  reject: () => reject('never'),
  throw: () => {
    throw new Error('an exception');
  },
  trap: () => abort('asked to trap'),
  spin: () => {
    for (;;);
  },
  log: () => {
    console.log('to stdout');
    console.error('to stderr');
  },
  count: () => emit('fail.count', new TextEncoder().encode(String(seen))),
};

function init(config) {
  if (config.init === 'fail') reject('the configuration says: fail');
}

function handle(event) {
  seen += 1;
  const word = event.text();
  if (!Object.hasOwn(words, word)) {
    reject(`unknown word: ${word.slice(0, 40)}; one of ${Object.keys(words).join(', ')}`);
  }
  return words[word]();
}

export const handler = channel(handle, { init });
