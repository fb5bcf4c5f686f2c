#!/usr/bin/env node
// `saf-channel build main.js -o main.wasm`: makes a component of a Channel in JavaScript or TypeScript.
//
// The engine reads ES modules itself, so nothing is bundled and types are only blanked out: a stack names the author's file
// and line. What goes in is the package around the entry (its own files, and its `dependencies` from node_modules) put together
// in a temporary folder. Module top level runs here, at build time, and its state is part of the component.
// Deliberately absent: type checking (`tsc --noEmit`), and minifying, which would cost the lines.

import { access, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

import { packageAround, required, stage } from './stage.js';

const USAGE = `usage: saf-channel build ENTRY -o COMPONENT [--wit FOLDER] [--world NAME]

  ENTRY      main.js or main.ts: the module that exports \`handler\`
  --wit      your own WIT, when the Channel imports more than logging; the world must include both
             saf:channel/channel@0.1.0 and, for the console, wasi:logging/logging@0.1.0-draft
  --world    its world, when it has several`;

const OWN_WIT = fileURLToPath(new URL('../wit', import.meta.url));

// Without it the engine makes a component all the same, which traps when it is started.
const EXPORTS_HANDLER = /\bexport\b(\s*\*|[^;]*\bhandler\b)/;

class Usage extends Error {}

function parse(line) {
  const options = { output: { type: 'string', short: 'o' }, wit: { type: 'string' }, world: { type: 'string' } };
  let parsed;
  try {
    parsed = parseArgs({ args: line, options, allowPositionals: true });
  } catch (e) {
    throw new Usage(e.message);
  }
  const [command, entry, ...rest] = parsed.positionals;
  const { output, wit = OWN_WIT, world } = parsed.values;
  if (command !== 'build' || !entry || !output || rest.length > 0) throw new Usage('no such command');
  return { entry: resolve(entry), output: resolve(output), wit: resolve(wit), world };
}

async function build({ entry, output, wit, world }) {
  await access(entry).catch(() => {
    throw new Error(`there is no ${entry}`);
  });
  const root = await packageAround(entry);
  const { componentize } = await required(root, 'componentize-qjs', '0.4.5');
  const staged = await mkdtemp(join(tmpdir(), 'saf-channel-'));
  try {
    await stage(root, dirname(entry), staged);
    const path = join(staged, basename(entry));
    const source = await readFile(path, 'utf8');
    if (!EXPORTS_HANDLER.test(source)) {
      throw new Error(`${entry} exports no handler: export const handler = channel((event) => …)`);
    }
    const { component } = await componentize({
      witPath: wit,
      world,
      jsSource: source,
      jsPath: path,
      moduleRoot: staged,
      // The asynchronous engine needs a host with the component model's async.
      sync: true,
    });
    await writeFile(output, component);
  } finally {
    await rm(staged, { recursive: true });
  }
}

try {
  await build(parse(process.argv.slice(2)));
} catch (e) {
  console.error(e instanceof Usage ? `${e.message}\n${USAGE}` : `saf-channel: ${e.message.replace(/^[:\s]+/, '')}`);
  process.exitCode = e instanceof Usage ? 2 : 1;
}
