import {
  closeSync,
  ftruncateSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { createMemoryFile } from '@coracle/sys';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../testing.ts';
import { copyMemory, memoryDigest, saveMemory } from './memory.ts';

const MiB = 1 << 20;
const page = 4096;

/** A memory with bytes here and there. */
function memoryWith(sizeBytes: number, places: readonly (readonly [offset: number, text: string])[]): number {
  const fd = createMemoryFile('test');
  ftruncateSync(fd, sizeBytes);
  for (const [offset, text] of places) writeSync(fd, text, offset);
  return fd;
}

test('pages that are not zero come out as they went in, the others take no room', () => {
  const places = [
    [0, 'first'],
    [page - 2, 'over the edge of a page'],
    [MiB - 1, 'over the edge of a chunk'],
    [7 * MiB + 5, 'alone'],
    [8 * MiB - 1, '!'],
  ] as const;
  const from = memoryWith(8 * MiB, places);
  const path = join(temporaryFolder(), 'ram');
  const extents = saveMemory(from, 8 * MiB, path);
  expect(extents).toEqual([
    [0, 2 * page],
    [MiB - page, 2 * page],
    [7 * MiB, page],
    [8 * MiB - page, page],
  ]);
  const { size, blocks } = statSync(path);
  expect(size).toBe(8 * MiB);
  expect(blocks * 512).toBeLessThan(MiB);
  const saved = readFileSync(path);
  for (const [offset, text] of places)
    expect(saved.toString('latin1', offset, offset + text.length)).toBe(text);

  const copy = join(temporaryFolder(), 'copy');
  const [source, target] = [openSync(path, 'r'), openSync(copy, 'w')];
  copyMemory(source, target, 8 * MiB, extents);
  for (const fd of [source, target, from]) closeSync(fd);
  expect(readFileSync(copy).equals(saved)).toBe(true);
});

test('the digest covers every byte and its place', () => {
  const folder = temporaryFolder();
  const path = join(folder, 'ram');
  const from = memoryWith(MiB, [[3 * page, 'x']]);
  const extents = saveMemory(from, MiB, path);
  closeSync(from);
  const digest = memoryDigest(path, extents);
  expect(memoryDigest(path, extents)).toBe(digest);
  expect(memoryDigest(path, [[2 * page, page]])).not.toBe(digest);
  const bytes = readFileSync(path);
  bytes[4 * page - 1]! ^= 1;
  writeFileSync(path, bytes);
  expect(memoryDigest(path, extents)).not.toBe(digest);
});

test('a file that ends before its extents is told', () => {
  const path = join(temporaryFolder(), 'ram');
  writeFileSync(path, 'short');
  expect(() => memoryDigest(path, [[0, page]])).toThrow('it ends at 5');
});
