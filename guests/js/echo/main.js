// Gives each event back: the same data and content type, on `echo.<subject>`.

import { channel, emit } from 'saf-channel';

export const handler = channel((event) =>
  emit(`echo.${event.subject}`, event.data, { contentType: event.contentType }),
);
