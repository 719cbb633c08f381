import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { resolveInRoot } from './root-path.ts';

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

test.each([
  ['/usr/only-on-the-host', 'no /usr/only-on-the-host: there is no /etc/hostname'],
  ['/nowhere/at/all', 'no /nowhere/at/all: there is no /nowhere'],
  ['/loop', 'no /loop: too many links'],
  ['/etc/passwd/x', 'no /etc/passwd/x: /etc/passwd is no folder'],
  ['/etc/passwd/', 'no /etc/passwd/: /etc/passwd is no folder'],
])('%s is refused', async (path, message) => {
  await expect(resolveInRoot(root, path)).rejects.toMatchObject({
    code: 'input-missing',
    message: expect.stringContaining(message),
  });
});
