import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { listCache } from './list.ts';
import { pruneCache } from './prune.ts';

let cache: string;
beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), 'coracle-image-'));
});
afterEach(() => rmSync(cache, { recursive: true, force: true }));

function make(path: string, daysAgo: number, content?: string): string {
  const full = join(cache, path);
  mkdirSync(join(full, '..'), { recursive: true });
  if (content === undefined) mkdirSync(full);
  else writeFileSync(full, content);
  const date = new Date(Date.now() - daysAgo * 24 * 3_600_000);
  utimesSync(full, date, date);
  return full;
}

const digest = (letter: string) => letter.repeat(64);

function makeImage(letter: string, daysAgo: number): string {
  const folder = make(`images/${digest(letter)}`, daysAgo);
  writeFileSync(join(folder, 'manifest.json'), JSON.stringify({ name: `image-${letter}` }));
  utimesSync(folder, new Date(), new Date(Date.now() - daysAgo * 24 * 3_600_000));
  return folder;
}

/** Others of the project keep things in the same folder. */
function makeForeign(): string[] {
  return [make('kvm/probe.json', 400, '{}'), make('packages/notes.txt', 400, 'mine'), make('roots/x', 400)];
}

describe('listCache', () => {
  test('shows images, kernels and packages with sizes, and nothing that is not its own', async () => {
    makeForeign();
    makeImage('a', 3);
    makeImage('b', 1);
    const kernel = make(`kernels/${digest('c')}`, 2);
    writeFileSync(join(kernel, 'vmlinux'), 'x'.repeat(500));
    make(`packages/${digest('d')}.deb`, 5, 'not really');
    expect((await listCache(cache)).map(({ kind, name, sizeBytes }) => [kind, name, sizeBytes])).toEqual([
      ['image', 'image-b', 18],
      ['image', 'image-a', 18],
      ['kernel', 'cccccccccccc', 500],
      ['package', 'dddddddddddd', 10],
    ]);
  });

  test('is empty where there is no cache', async () => {
    expect(await listCache(join(cache, 'nowhere'))).toEqual([]);
  });
});

describe('pruneCache', () => {
  test('removes what was not used for 30 days, and says how much that freed', async () => {
    const foreign = makeForeign();
    const old = [makeImage('a', 31), make(`packages/${digest('d')}.deb`, 31, 'x'.repeat(100))];
    const recent = [makeImage('b', 29), make(`packages/${digest('e')}.deb`, 29, 'x')];
    const result = await pruneCache({ cache });
    expect(result).toMatchObject({ freedBytes: 118, inUse: [] });
    expect(result.removed.map((one) => one.path).sort()).toEqual(old.sort());
    expect(old.some(existsSync)).toBe(false);
    expect([...recent, ...foreign].every(existsSync)).toBe(true);
    expect(readdirSync(join(cache, 'images'))).toEqual([digest('b')]);
  });

  test('with keep, the images and kernels that were last used stay, whatever their age', async () => {
    const kept = [makeImage('a', 100), make(`kernels/${digest('1')}`, 90)];
    const removed = [makeImage('b', 101), make(`kernels/${digest('2')}`, 91)];
    const packages = [make(`packages/${digest('d')}.deb`, 1, 'x')];
    await pruneCache({ cache, keep: 1 });
    expect([...kept, ...packages].every(existsSync)).toBe(true);
    expect(removed.some(existsSync)).toBe(false);
    await pruneCache({ cache, keep: 0 });
    expect(kept.some(existsSync)).toBe(false);
    expect(packages.every(existsSync)).toBe(true);
  });

  test('a dry run removes nothing', async () => {
    const image = makeImage('a', 0);
    expect((await pruneCache({ cache, all: true, dryRun: true })).removed).toHaveLength(1);
    expect(existsSync(image)).toBe(true);
  });

  test('leaves what a running process has used since it began', async () => {
    const other = spawn('sleep', ['60']);
    try {
      make(`users/${other.pid}`, 1, '');
      const used = [makeImage('a', 0), make(`packages/${digest('d')}.deb`, 0, 'x')];
      const before = makeImage('b', 2);
      const result = await pruneCache({ cache, all: true });
      expect(result.inUse.map((one) => one.path)).toEqual(used);
      expect(used.every(existsSync)).toBe(true);
      expect(existsSync(before)).toBe(false);
    } finally {
      other.kill();
    }
  });

  test('whoever was killed holds nothing, and what it left goes', async () => {
    const dead = spawnSync('true').pid;
    make(`users/${dead}`, 1, '');
    make(`images/${digest('a')}.building-${dead}`, 0);
    make(`images/${digest('b')}.building-${process.ppid}`, 0);
    make('packages/.fetch-abc', 2);
    makeImage('c', 0);
    await pruneCache({ cache, all: true });
    expect(readdirSync(join(cache, 'images'))).toEqual([`${digest('b')}.building-${process.ppid}`]);
    expect(readdirSync(join(cache, 'packages'))).toEqual([]);
    expect(readdirSync(join(cache, 'users'))).toEqual([]);
  });
});
