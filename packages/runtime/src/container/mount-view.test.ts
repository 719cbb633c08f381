import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { resolveInRoot } from './mount-view.ts';

const root = mkdtempSync(join(tmpdir(), 'coracle-view-'));
afterAll(() => rmSync(root, { recursive: true }));

mkdirSync(join(root, 'data/inner'), { recursive: true });
writeFileSync(join(root, 'file'), '');
symlinkSync('/data', join(root, 'absolute'));
symlinkSync('../../../../data', join(root, 'upwards'));
symlinkSync('inner', join(root, 'data/relative'));
symlinkSync('loop', join(root, 'loop'));
symlinkSync('/etc/passwd', join(root, 'host'));

test.each([
  ['/', ''],
  ['/data/inner', '/data/inner'],
  ['absolute/inner', '/data/inner'],
  ['/upwards/./relative', '/data/inner'],
  ['/../../data/../file', '/file'],
  ['/file', '/file'],
])('%s lies at %s', (path, found) => {
  expect(resolveInRoot(root, path)).toBe(`${root}${found}`);
});

// A link of an image that would lead to a file of the host for anybody but the container.
test.each(['/host', '/nope', '/file/below', '/loop'])('%s is nowhere', (path) => {
  expect(resolveInRoot(root, path)).toBeUndefined();
});
