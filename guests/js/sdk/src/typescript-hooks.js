// Node's loading hook for .ts files, see typescript.js.

import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const { transformSync } = createRequire(join(process.cwd(), 'package.json'))('amaro');

export async function load(url, context, next) {
  const { protocol, pathname } = new URL(url);
  if (protocol !== 'file:' || !pathname.endsWith('.ts')) return next(url, context);
  const filename = fileURLToPath(url);
  const { code } = transformSync(await readFile(filename, 'utf8'), { mode: 'strip-only', filename });
  return { format: 'module', source: code, shortCircuit: true };
}
