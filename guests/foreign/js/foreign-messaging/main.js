// A component of wasmCloud's messaging interface that knows nothing of saf. ../../README.md says what it does.

import config from 'wasi:config/store@0.2.0-rc.1';
import logging from 'wasi:logging/logging@0.1.0-draft';
import consumer from 'wasmcloud:messaging/consumer@0.2.0';

let seen = 0;

const bytes = (text) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const text = (body) => Array.from(body, (byte) => String.fromCharCode(byte)).join('');

function publish(subject, body) {
  consumer.publish({ subject, body: bytes(body), replyTo: null });
}

const words = {
  echo: (message) => publish(`echo.${message.subject}`, text(message.body)),
  reply(message) {
    if (message.replyTo === null) throw 'no reply-to';
    publish(message.replyTo, 'answer');
  },
  publish: (_, subject) => publish(subject, 'published'),
  fail() {
    publish('failed', 'never seen');
    throw 'told to fail';
  },
  trap() {
    publish('trapped', 'never seen');
    throw new Error('told to trap');
  },
  request: (_, subject) => void consumer.request(subject, bytes('question'), 1000),
  flood() {
    for (;;) publish('flood', 'flood');
  },
  configured: (_, key) => publish('configured', config.get(key) ?? ''),
  count: () => publish('count', String(seen)),
};

export const handler = {
  handleMessage(message) {
    const [word, argument] = text(message.body).split(' ');
    seen += 1;
    logging.log('info', 'foreign', word);
    const act = words[word];
    if (!act) throw `no such word: ${word}`;
    act(message, argument);
  },
};
