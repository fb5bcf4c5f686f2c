// Puts together what a component is made of: the sources beside the entry with types blanked out, and the packages that they
// depend on.

import { access, cp, mkdir, readFile, readdir, realpath, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const SOURCE = /\.(js|mjs|json)$/;
const TYPESCRIPT = /(?<!\.d)\.(ts|mts)$/;
const NO_SOURCES = new Set(['node_modules', 'dist', 'build', 'target']);

/** The nearest folder with a package.json: its `dependencies` go into the component. */
export async function packageAround(entry) {
  for (let folder = dirname(entry); ; folder = dirname(folder)) {
    if (await exists(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) {
      throw new Error(`there is no package.json around ${entry}: npm init, then npm install saf-channel`);
    }
  }
}

/** A tool of the author's project, not of this package: so that a linked SDK finds it too. */
export async function required(root, name, version) {
  let path;
  try {
    path = createRequire(join(root, 'package.json')).resolve(name);
  } catch {
    throw new Error(`${name} is missing: npm install --save-dev ${name}@${version}`);
  }
  const module = await import(pathToFileURL(path).href);
  return module.default ?? module;
}

/** Copies the sources in `folder` and the dependencies of the package at `root` to `staged`. */
export async function stage(root, folder, staged) {
  await copySources(root, folder, staged);
  const { dependencies = {} } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));
  await copyPackages(join(root, 'node_modules'), Object.keys(dependencies), join(staged, 'node_modules'));
}

async function copySources(root, from, to) {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) {
      if (!NO_SOURCES.has(entry.name)) await copySources(root, source, target);
    } else if (TYPESCRIPT.test(entry.name)) {
      await writeFile(target, await blankTypes(root, source));
    } else if (SOURCE.test(entry.name)) {
      await cp(source, target);
    }
  }
}

// Keeps its name: an import of './payload.ts' finds it, and a stack says it. What cannot be blanked out may lie there unused,
// so it fails when it is imported.
async function blankTypes(root, source) {
  const { transformSync } = await required(root, 'amaro', '1.2.1');
  try {
    return transformSync(await readFile(source, 'utf8'), { mode: 'strip-only', filename: source }).code;
  } catch (e) {
    return `throw new SyntaxError(${JSON.stringify(`${source}: ${e.message ?? e}`)});`;
  }
}

// As npm lays them out, side by side.
async function copyPackages(from, names, to, seen = new Set()) {
  for (const name of names) {
    if (seen.has(name)) continue;
    seen.add(name);
    if (!(await exists(join(from, name)))) throw new Error(`${name} is not installed: npm install`);
    const source = await realpath(join(from, name));
    const nested = (path) => path !== source && path.startsWith(join(source, 'node_modules'));
    await cp(source, join(to, name), { recursive: true, filter: (path) => !nested(path) });
    const { dependencies = {} } = JSON.parse(await readFile(join(source, 'package.json'), 'utf8'));
    await copyPackages(from, Object.keys(dependencies), to, seen);
  }
}

async function exists(path) {
  return access(path).then(() => true, () => false);
}
