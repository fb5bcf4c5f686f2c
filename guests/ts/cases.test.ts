// The cases that every language shares, on the guests as Node runs them.

import test from 'node:test';

import { cases, check, webhooks } from '../cases/native.mjs';

const GUESTS = {
  echo: ['echo'],
  enrich: ['enrich'],
  'github-events': ['github-events'],
  fail: ['fail', 'fail-exception'],
};

for (const [guest, folders] of Object.entries(GUESTS)) {
  for (const each of folders.flatMap(cases)) {
    test(`${guest}: ${each.name}`, async () => {
      // Afresh for every case, as an instance is.
      const { handler } = await import(`./${guest}/main.ts?${encodeURIComponent(each.name)}`);
      check(handler, each);
    });
  }
}

test('every known webhook is summarised as in Rust', async (t) => {
  const known = webhooks();
  if (known === null) return t.skip('SAF_WEBHOOK_EXAMPLES is not set: cargo xtask test fetches them');
  const { handler } = await import('./github-events/main.ts');
  for (const each of known) check(handler, each);
});
