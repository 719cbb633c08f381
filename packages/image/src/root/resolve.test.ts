import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { resolveInRoot } from './resolve.ts';

let root: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'coracle-image-'));
  mkdirSync(join(root, 'usr/bin'), { recursive: true });
  mkdirSync(join(root, 'etc'));
  writeFileSync(join(root, 'usr/bin/busybox'), '');
  writeFileSync(join(root, 'etc/passwd'), '');
  symlinkSync('usr/bin', join(root, 'bin'));
  symlinkSync('busybox', join(root, 'usr/bin/sh'));
  symlinkSync('/etc/passwd', join(root, 'usr/absolute'));
  symlinkSync('../../../../../../etc/passwd', join(root, 'usr/up'));
  symlinkSync('/etc/hostname', join(root, 'usr/only-on-the-host'));
  symlinkSync('loop', join(root, 'loop'));
});
afterAll(() => rmSync(root, { recursive: true }));

test.each([
  ['/', ''],
  ['', ''],
  ['/bin/sh', 'usr/bin/busybox'],
  ['bin//./sh', 'usr/bin/busybox'],
  ['/bin/', 'usr/bin'],
  ['/usr/absolute', 'etc/passwd'],
  ['/usr/up', 'etc/passwd'],
  ['../../etc/passwd', 'etc/passwd'],
])('%s is %s', async (path, found) => {
  expect(await resolveInRoot(root, path)).toBe(found);
});

test.each(['/usr/only-on-the-host', '/nowhere/at/all', '/loop', '/etc/passwd/x'])(
  '%s is nothing in the root',
  async (path) => {
    expect(await resolveInRoot(root, path)).toBeUndefined();
  },
);
