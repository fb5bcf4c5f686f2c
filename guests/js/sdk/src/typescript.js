// `node --import saf-channel/typescript --test`: runs TypeScript in versions of Node that cannot yet (before 22.18). Types are
// blanked out, so that lines and columns stay what they are. Where Node can, this does nothing.

import { register } from 'node:module';

if (!process.features.typescript) register('./typescript-hooks.js', import.meta.url);
