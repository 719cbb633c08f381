import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { atomicFolder, cacheFolder } from './cache.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-image-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe('atomicFolder', () => {
  test('makes the folder and leaves nothing beside it', async () => {
    await atomicFolder(join(folder, 'out'), async (target, scratch) => {
      writeFileSync(join(scratch, 'work'), '');
      writeFileSync(join(target, 'file'), 'new');
      expect(readdirSync(folder)).not.toContain('out');
    });
    expect(readdirSync(folder)).toEqual(['out']);
    expect(readdirSync(join(folder, 'out'))).toEqual(['file']);
  });

  test('replaces what was there', async () => {
    mkdirSync(join(folder, 'out'));
    writeFileSync(join(folder, 'out', 'old'), '');
    await atomicFolder(join(folder, 'out'), async (target) => writeFileSync(join(target, 'file'), 'new'));
    expect(readdirSync(join(folder, 'out'))).toEqual(['file']);
  });

  test('leaves the old folder alone when filling the new one fails', async () => {
    mkdirSync(join(folder, 'out'));
    writeFileSync(join(folder, 'out', 'old'), 'kept');
    const failing = atomicFolder(join(folder, 'out'), async (target) => {
      writeFileSync(join(target, 'half'), '');
      throw new Error('interrupted');
    });
    await expect(failing).rejects.toThrow('interrupted');
    expect(readdirSync(folder)).toEqual(['out']);
    expect(readFileSync(join(folder, 'out', 'old'), 'utf8')).toBe('kept');
  });

  test('removes what a builder that was killed left, and not what a living one is making', async () => {
    const dead = spawnSync('true').pid;
    mkdirSync(join(folder, `out.building-${dead}`, 'scratch'), { recursive: true });
    mkdirSync(join(folder, `out.building-${process.ppid}`));
    await atomicFolder(join(folder, 'out'), async () => {});
    expect(readdirSync(folder).sort()).toEqual(['out', `out.building-${process.ppid}`]);
  });
});

test('cacheFolder follows CORACLE_CACHE, then XDG_CACHE_HOME, then HOME', () => {
  expect(cacheFolder({ CORACLE_CACHE: '/c', XDG_CACHE_HOME: '/x', HOME: '/h' })).toBe('/c');
  expect(cacheFolder({ XDG_CACHE_HOME: '/x', HOME: '/h' })).toBe('/x/coracle');
  expect(cacheFolder({ HOME: '/h' })).toBe('/h/.cache/coracle');
  expect(cacheFolder({})).toBe('/var/cache/coracle');
});
