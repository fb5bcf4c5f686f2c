// What goes into a component, and what is said when something is missing.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

import { packageAround, stage } from '../bin/stage.js';

async function project(t, files) {
  const folder = await mkdtemp(join(tmpdir(), 'saf-stage-'));
  t.after(() => rm(folder, { recursive: true }));
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(folder, name)), { recursive: true });
    await writeFile(join(folder, name), text);
  }
  return folder;
}

const manifest = (dependencies) => JSON.stringify({ dependencies });

test('sources and dependencies go in, and nothing else', async (t) => {
  const root = await project(t, {
    'package.json': manifest({ a: '1' }),
    'src/main.js': 'export {}',
    'src/lib/more.js': '',
    'src/notes.md': '',
    'src/build/old.js': '',
    'node_modules/a/package.json': manifest({ '@s/b': '1' }),
    'node_modules/a/index.js': 'a',
    'node_modules/@s/b/package.json': manifest({ a: '1' }),
    'node_modules/tool/package.json': '{}',
  });
  const staged = await project(t, {});
  assert.equal(await packageAround(join(root, 'src/main.js')), root);
  await stage(root, join(root, 'src'), staged);
  const there = (name) => readFile(join(staged, name)).then(() => true, () => false);
  for (const name of ['main.js', 'lib/more.js', 'node_modules/a/index.js', 'node_modules/@s/b/package.json']) {
    assert.ok(await there(name), name);
  }
  for (const name of ['notes.md', 'build/old.js', 'node_modules/tool/package.json']) {
    assert.ok(!(await there(name)), name);
  }
});

test('what is missing is named', async (t) => {
  const staged = await project(t, {});
  const bare = await project(t, { 'package.json': manifest({ 'left-out': '1' }), 'main.js': '' });
  await assert.rejects(stage(bare, bare, staged), /left-out is not installed: npm install/);
  const typed = await project(t, { 'package.json': '{}', 'main.ts': 'export const a: number = 1;' });
  await assert.rejects(stage(typed, typed, staged), /amaro is missing: npm install --save-dev amaro@/);
});

test('types are blanked out in place, and what cannot be fails only when it is imported', async (t) => {
  const files = { 'main.ts': 'export const a: number = 1;\n', 'odd.ts': 'enum A { B }', 'types.d.ts': 'type T = 1' };
  const staged = await project(t, {});
  const root = await project(t, { 'package.json': '{}', ...files });
  await mkdir(join(root, 'node_modules/amaro'), { recursive: true });
  // Stands for amaro, which only TypeScript's guests install.
  const blank = "exports.transformSync = (code) => { if (/enum/.test(code)) throw new Error('enum'); return { code: code.replace(': number', '        ') }; };";
  await writeFile(join(root, 'node_modules/amaro/index.js'), blank);
  await stage(root, root, staged);
  assert.equal(await readFile(join(staged, 'main.ts'), 'utf8'), 'export const a         = 1;\n');
  await assert.rejects(import(`data:text/javascript,${encodeURIComponent(await readFile(join(staged, 'odd.ts'), 'utf8'))}`), /odd\.ts: enum/);
  await assert.rejects(readFile(join(staged, 'types.d.ts')), /ENOENT/);
});

test('the command says what is wrong', async (t) => {
  const root = await project(t, { 'package.json': '{}', 'main.js': 'export const other = 1;' });
  const command = fileURLToPath(new URL('../bin/saf-channel.js', import.meta.url));
  const say = (...line) => spawnSync(process.execPath, [command, ...line], { cwd: root, encoding: 'utf8' });
  const cases = [
    [[], 2, /usage: saf-channel build/],
    [['build', 'main.js'], 2, /usage/],
    [['build', 'none.js', '-o', 'x.wasm'], 1, /there is no .*none\.js/],
    [['build', 'main.js', '-o', 'x.wasm'], 1, /componentize-qjs is missing: npm install --save-dev/],
  ];
  for (const [line, code, text] of cases) {
    const { status, stderr } = say(...line);
    assert.equal(status, code, stderr);
    assert.match(stderr, text);
  }
});

test("the contract is the checkout's", async () => {
  const read = (path) => readFile(fileURLToPath(new URL(path, import.meta.url)), 'utf8');
  assert.equal(await read('../wit/deps/channel.wit'), await read('../../../../wit/channel.wit'));
});
