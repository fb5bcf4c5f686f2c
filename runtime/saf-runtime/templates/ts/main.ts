// Greets whoever an event names.

import { channel, emit } from 'saf-channel';

export const handler = channel((event) => {
  const { name } = event.json() as { name: string };
  return emit(`${event.subject}.done`, { greeting: `hello, ${name}` });
});
