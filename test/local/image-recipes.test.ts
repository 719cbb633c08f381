/** Recipes with mistakes that only a build finds: one error with file, line and key, and no output. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { buildImage, loadImage } from '../../packages/image/src/index.ts';

const images = join(import.meta.dirname, '../../images');

let folder: string;
let recipe: string;
let agent: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coracle-image-'));
  agent = join(folder, 'agent');
  await mkdir(agent);
  await writeFile(join(agent, 'agent.js'), 'console.log("hello");\n');
});
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(async () => {
  recipe = await mkdtemp(join(folder, 'recipe-'));
});

/** Builds the base with `text` on top. */
async function build(text: string, updateMissing = false) {
  const base = relative(recipe, join(images, 'base'));
  await writeFile(join(recipe, 'image.toml'), `format = 1\nextends = "${base}"\nname = "own"\n${text}\n`);
  const lock = join(recipe, 'lock.json');
  await writeFile(lock, await readFile(join(images, 'images.lock.json')));
  const output = join(recipe, 'output');
  return await buildImage({ recipe, agent, output, lock, useCache: false, updateMissing });
}

/** /bin/true, which needs the C library and now cannot find it. */
async function programThatNeeds(library: 'libx.so.6'): Promise<Buffer> {
  return Buffer.from(
    (await readFile('/bin/true')).toString('latin1').replace('libc.so.6', library),
    'latin1',
  );
}

const place = (rest: string) => expect.stringContaining(`${recipe}/image.toml:${rest}`);

describe('a build fails, and leaves nothing, with', () => {
  test.each([
    ['an unknown key', 'colour = "red"', 'recipe-invalid', '4: colour: is not a key of a recipe'],
    [
      'a file outside the folder of the recipe',
      '[[files]]\npath = "/etc/a"\nsource = "../agent/agent.js"',
      'recipe-invalid',
      "6: files.0.source: ../agent/agent.js is outside the recipe's folder",
    ],
    [
      'a file that its package does not hold',
      '[[packages]]\nname = "crun"\nfiles = ["usr/bin/runc"]',
      'recipe-invalid',
      '6: packages.0.files.0: the package has no usr/bin/runc',
    ],
    [
      'a package that is not in the lock file',
      '[[packages]]\nname = "no-such-package"',
      'package-unpinned',
      '5: packages.0.name',
    ],
    [
      'a program whose library no package holds',
      '[[files]]\npath = "/usr/bin/a"\nsource = "program"',
      'input-missing',
      '5: files.0.path: /usr/bin/a needs the library libx.so.6',
    ],
  ])('%s', async (_what, text, code, message) => {
    await writeFile(join(recipe, 'program'), await programThatNeeds('libx.so.6'));
    await expect(build(text)).rejects.toMatchObject({ code, message: place(message) });
    const left = (await readdir(recipe)).filter((name) => name.startsWith('output'));
    expect(left).toEqual([]);
  });
});

test('files, links, hooks and whole packages are in the image, and its packages in the manifest', async () => {
  const { image } = await build(
    '[[packages]]\nname = "libcap2"\neverything = true\n[[files]]\npath = "/etc/a"\nlink = "hosts"',
  );
  await loadImage(image.folder, { checkDigests: true });
  expect(image.manifest).toMatchObject({ name: 'own' });
  expect(image.manifest.packages.map(({ name }) => name)).toContain('libcap2');
});
