import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SpawnOptions } from '@coracle/sys';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { bootHooks, runBootHook } from './boot-hooks.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-hooks-'));
});
afterEach(() => rmSync(folder, { recursive: true }));

test('hooks are listed in byte order', () => {
  for (const name of ['9-late', '10-sysctl', 'b', 'Z', 'a_b', 'a.b', 'a-b'])
    writeFileSync(join(folder, name), '');
  expect(bootHooks(folder)).toEqual(['10-sysctl', '9-late', 'Z', 'a-b', 'a.b', 'a_b', 'b']);
});

test('without their folder there are none; any other trouble is told', () => {
  expect(bootHooks(join(folder, 'absent'))).toEqual([]);
  mkdirSync(join(folder, 'd'));
  writeFileSync(join(folder, 'd/file'), '');
  expect(() => bootHooks(join(folder, 'd/file'))).toThrow('ENOTDIR');
});

function reaperThatSees(status: number) {
  const started: SpawnOptions[] = [];
  const run = async (options: SpawnOptions) => {
    started.push(options);
    return status;
  };
  return { started, run };
}

test('a hook has the console, a path and the root as its folder', async () => {
  const reaper = reaperThatSees(0);
  await runBootHook('10-sysctl', reaper);
  expect(reaper.started).toEqual([
    {
      file: '/etc/coracle/boot.d/10-sysctl',
      args: ['/etc/coracle/boot.d/10-sysctl'],
      env: { PATH: '/usr/bin' },
      cwd: '/',
      descriptors: { 0: expect.any(Number), 1: 1, 2: 2 },
    },
  ]);
});

test.each([
  [3 << 8, 'exited with 3'],
  [9, 'was killed by SIGKILL'],
])('wait status %i is an error that says: %s', async (status, message) => {
  await expect(runBootHook('x', reaperThatSees(status))).rejects.toThrow(message);
});
