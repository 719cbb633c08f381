/** The small parts of an image come out the same from other folders, in another order, at another time. */
import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { sha256, sha256File, sha256Json } from '../digest.ts';
import type { Kernel } from '../kernel/kernel.ts';
import { makeErofs } from './erofs.ts';
import { makeInitrd } from './initrd.ts';
import { RootTree } from './root-tree.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-image-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const files = Array.from({ length: 40 }, (_, index) => `usr/share/f${(index * 7) % 40}/file${index}`);

async function rootDigest(name: string, paths: string[], umask: number): Promise<string> {
  const root = join(folder, name);
  const previous = process.umask(umask);
  try {
    const tree = new RootTree(root);
    await tree.begin();
    for (const path of paths) await tree.text(path, path.repeat(500));
    await tree.directory('tmp', 0o1777);
    await tree.link('bin', 'usr/bin');
    const image = join(folder, `${name}.erofs`);
    await makeErofs(root, image);
    return await sha256File(image);
  } finally {
    process.umask(previous);
  }
}

test('rootfs.erofs', async () => {
  const first = await rootDigest('a', files, 0o022);
  expect(await rootDigest('deeper-and-longer', [...files].reverse(), 0o077)).toBe(first);
  expect(await rootDigest('c', files.slice(1), 0o022)).not.toBe(first);
});

async function initrdDigest(name: string, mtime: Date): Promise<string> {
  const base = join(folder, name);
  mkdirSync(join(base, 'kernel'), { recursive: true });
  for (const file of ['busybox', 'kernel/c.ko', 'kernel/b.ko', 'kernel/a.ko']) {
    writeFileSync(join(base, file), file);
    utimesSync(join(base, file), mtime, mtime);
  }
  const module = (path: string) => ({ path, depends: [], softDependsBefore: [] });
  const kernel: Kernel = {
    origin: 'prebuilt',
    release: '6.1',
    vmlinuxPath: undefined,
    vmlinuzPath: '',
    configPath: '',
    modules: [module('kernel/b.ko'), module('kernel/a.ko')],
    modulesOnRequest: [{ module: module('kernel/c.ko'), dependencies: [module('kernel/a.ko')] }],
    modulesFolder: base,
    filesystems: [],
    transports: [],
  };
  return sha256(await makeInitrd(kernel, join(base, 'busybox'), 'erofs'));
}

test('initrd.img', async () => {
  expect(await initrdDigest('one', new Date(0))).toBe(await initrdDigest('two', new Date()));
});

test('the digest of inputs does not depend on the order of keys', () => {
  expect(sha256Json({ a: 1, b: [{ c: 2, d: null }] })).toBe(sha256Json({ b: [{ d: null, c: 2 }], a: 1 }));
  expect(sha256Json({ a: [1, 2] })).not.toBe(sha256Json({ a: [2, 1] }));
});
