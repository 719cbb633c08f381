/**
 * Images of a tiny tree, in each form that a root may have: all are as they say, and whoever changes the root and
 * puts the new digest into the manifest is found out all the same.
 */
import {
  appendFileSync,
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { lstat, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Contents } from '../contents.ts';
import { sha256File } from '../digest.ts';
import { loadImage } from '../load.ts';
import { imageFormat, type Manifest } from '../manifest.ts';
import { makeRootDisk } from '../root/disk.ts';
import { makeInitramfs } from '../root/initramfs.ts';
import { readTree } from '../root/tree.ts';
import { listImage, readImageFile } from './look.ts';
import { verifyImage } from './verify.ts';

const forms = {
  'erofs, as a disk': { filesystem: 'erofs', maps: false, verity: false },
  'erofs, mapped, filled up to 2 MiB': { filesystem: 'erofs', maps: true, verity: false },
  'erofs with verity': { filesystem: 'erofs', maps: true, verity: true },
  'ext4, mapped': { filesystem: 'ext4', maps: true, verity: false },
  'ext4 with verity': { filesystem: 'ext4', maps: true, verity: true },
  initramfs: { filesystem: 'initramfs', maps: true, verity: false },
} as const;
type Form = keyof typeof forms;

let folder: string;
let tree: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-image-'));
  tree = join(folder, 'tree');
  for (const path of ['etc', 'tmp', 'usr/bin']) mkdirSync(join(tree, path), { recursive: true });
  for (const path of ['etc', 'usr', 'usr/bin']) chmodSync(join(tree, path), 0o755);
  chmodSync(join(tree, 'tmp'), 0o1777);
  put('init', '#!/usr/bin/program\n', 0o755);
  put('usr/bin/program', 'It does nothing.\n'.repeat(20_000), 0o4755);
  put('etc/greeting', 'hello\n');
  symlinkSync('usr/bin', join(tree, 'bin'));
  symlinkSync('/bin/../../etc/greeting', join(tree, 'absolute'));
  symlinkSync('../../../../etc/hostname', join(tree, 'outside'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function put(path: string, text: string, mode = 0o644): void {
  rmSync(join(tree, path), { force: true });
  appendFileSync(join(tree, path), text);
  chmodSync(join(tree, path), mode);
}

async function makeRoot(image: string, form: Form): Promise<Manifest['root']> {
  const { filesystem, maps, verity } = forms[form];
  if (filesystem !== 'initramfs')
    return makeRootDisk(tree, image, { filesystem, compression: 'none', verity }, maps);
  await makeInitramfs(tree, join(image, 'initrd.img'));
  return { filesystem, file: 'initrd.img' };
}

async function describeTree(): Promise<Contents> {
  const entries = (await readTree(tree)).map(async (entry) => {
    const common = {
      path: entry.path,
      mode: entry.mode.toString(8).padStart(4, '0'),
      origin: { kind: 'recipe' } as const,
    };
    if (entry.type === 'directory') return { type: entry.type, ...common };
    if (entry.type === 'symlink') return { type: entry.type, ...common, target: entry.target };
    const sha256 = await sha256File(join(tree, entry.path));
    return { type: entry.type, ...common, sizeBytes: entry.sizeBytes, sha256 };
  });
  return { format: 1, entries: await Promise.all(entries) };
}

async function makeImage(form: Form): Promise<{ image: string; root: Manifest['root'] }> {
  const image = join(folder, 'image');
  mkdirSync(image);
  await writeFile(join(image, 'vmlinuz'), 'a kernel');
  const root = await makeRoot(image, form);
  await writeFile(join(image, 'contents.json'), JSON.stringify(await describeTree()));
  await sign(image, root);
  return { image, root };
}

/** Writes the manifest, with whatever digests the files have now. */
async function sign(image: string, root: Manifest['root']): Promise<void> {
  const names = (await readdir(image)).filter((name) => name !== 'manifest.json');
  const files = names.map(async (name) => {
    const path = join(image, name);
    return [name, { sizeBytes: (await lstat(path)).size, sha256: await sha256File(path) }];
  });
  const manifest = {
    format: imageFormat,
    name: 'tiny',
    architecture: 'x86_64',
    inputs: '0'.repeat(64),
    kernel: {
      release: '6.12',
      origin: 'built',
      file: 'vmlinuz',
      arguments: [],
      filesystems: [],
      transports: [],
      modules: [],
      modulesOnRequest: [],
    },
    initrd: root.filesystem === 'initramfs' ? 'initrd.img' : null,
    root,
    versions: {},
    packages: [],
    files: Object.fromEntries(await Promise.all(files)),
  };
  await writeFile(join(image, 'manifest.json'), JSON.stringify(manifest));
}

async function flip(path: string, at: number): Promise<void> {
  const bytes = await readFile(path);
  bytes[at]! ^= 1;
  await writeFile(path, bytes);
}

describe.each(Object.keys(forms) as Form[])('%s', (form) => {
  test('is as it says, and its files can be looked at', async () => {
    const { image, root } = await makeImage(form);
    expect(await verifyImage(image)).toMatchObject({ problems: [], skipped: [], comparedPaths: 10 });
    expect((await loadImage(image)).manifest.root).toEqual(root);
    if (root.filesystem !== 'initramfs') {
      const padded = root.device === 'pmem' ? 2 << 20 : 4096;
      expect((await lstat(join(image, root.file))).size % padded).toBe(0);
    }
    expect((await readImageFile(image, '/bin/../../absolute')).toString()).toBe('hello\n');
    expect((await listImage(image, 'bin')).map(({ path, mode }) => [path, mode])).toEqual([
      ['usr/bin/program', 0o4755],
    ]);
    // On the host it is there.
    await expect(readImageFile(image, 'outside')).rejects.toThrow('there is no /outside in the image');
    await expect(readImageFile(image, 'etc')).rejects.toThrow('/etc in the image is a folder');
  });

  test('one flipped byte in a file of the root is found, even with its digest put right', async () => {
    const { image, root } = await makeImage(form);
    const path = join(image, root.file);
    await flip(path, readFileSync(path).indexOf('It does nothing.\n'.repeat(100)) + 20);
    const [byDigest] = (await verifyImage(image)).problems;
    expect(byDigest).toMatchObject({
      file: root.file,
      message: expect.stringMatching(/has SHA-256 [0-9a-f]{64} and should have SHA-256 [0-9a-f]{64}/),
    });
    await sign(image, root);
    const { problems } = await verifyImage(image);
    const inRoot = expect.objectContaining({ file: `${root.file}!/usr/bin/program` });
    const inTree = expect.objectContaining({
      file: root.file,
      message: expect.stringMatching(/block \d+ \(byte \d+\) was changed: it does not fit the root hash/),
    });
    // A root that its own hash tree does not fit is not given to the tools that unpack.
    expect(problems).toEqual([forms[form].verity ? inTree : inRoot]);
  });

  test('a root with other files is found, even with its digest put right', async () => {
    const { image, root } = await makeImage(form);
    put('etc/extra', 'not listed');
    put('etc/greeting', 'hullo\n');
    put('usr/bin/program', 'It does nothing.\n'.repeat(20_000), 0o755);
    rmSync(join(tree, 'bin'));
    rmSync(join(image, root.file));
    await sign(image, await makeRoot(image, form));
    const { problems } = await verifyImage(image);
    const place = (path: string) => `${root.file}!/${path}`;
    expect(problems.map(({ message }) => message.slice(0, 80))).toEqual(
      [
        `${place('bin')} is missing; contents.json lists it`,
        `${place('etc/greeting')} has SHA-256 `,
        `${place('usr/bin/program')} has mode 0755 and should have 4755`,
        `${place('etc/extra')} is not listed in contents.json`,
      ].map((text) => expect.stringContaining(text)),
    );
  });
});

test('a contents.json that was changed is found, and one that is none is told', async () => {
  const { image, root } = await makeImage('erofs, as a disk');
  const path = join(image, 'contents.json');
  const contents = JSON.parse(readFileSync(path, 'utf8')) as Contents;
  await writeFile(path, JSON.stringify({ ...contents, entries: contents.entries.slice(1) }));
  const changed = await verifyImage(image);
  expect(changed.problems).toMatchObject([{ file: 'contents.json' }]);
  expect(changed.skipped).toEqual([expect.stringContaining('the root was not unpacked')]);
  await sign(image, root);
  expect((await verifyImage(image)).problems).toMatchObject([
    { file: 'rootfs.erofs!/absolute', message: expect.stringContaining('is not listed') },
  ]);
  await writeFile(path, '{"format": 1}');
  await sign(image, root);
  await expect(verifyImage(image)).rejects.toMatchObject({ code: 'image-invalid' });
});

test('a file that the manifest boots from and has no digest of is found', async () => {
  const { image } = await makeImage('erofs, as a disk');
  const path = join(image, 'manifest.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8'));
  delete manifest.files.vmlinuz;
  await writeFile(path, JSON.stringify(manifest));
  await expect(loadImage(image)).rejects.toThrow('boots vmlinuz and has no size and SHA-256 of it');
  expect((await verifyImage(image)).problems).toMatchObject([{ file: 'vmlinuz' }, { file: 'vmlinuz' }]);
});
