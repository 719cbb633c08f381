import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { bindArguments, checkShare, inPrivateMounts, type ShareBind } from './share.ts';
import { temporaryFolder } from './testing.ts';

test.each([
  ['a b', [], /share tag "a b"/],
  ['x'.repeat(32), [], /share tag/],
  ['pod', [{ name: '../up', source: '/srv' }], /"\.\.\/up" is not a plain relative path/],
  ['pod', [{ name: '/abs', source: '/srv' }], /not a plain relative path/],
  ['pod', [{ name: 'a//b', source: '/srv' }], /not a plain relative path/],
  ['pod', [{ name: '', source: '/srv' }], /not a plain relative path/],
  ['pod', [{ name: '.', source: '/srv' }], /not a plain relative path/],
  ['pod', [{ name: 'a', source: 'srv' }], /not an absolute path/],
  [
    'pod',
    [
      { name: 'a', source: '/1' },
      { name: 'a', source: '/2' },
    ],
    /two binds are called a/,
  ],
  [
    'pod',
    [
      { name: 'a', source: '/1' },
      { name: 'a/b', source: '/2' },
    ],
    /another bind lies below a/,
  ],
] as const)('the share %j with %j is refused', (tag, binds, message) => {
  expect(() => checkShare(tag, binds)).toThrow(message);
});

test('names that only begin alike do not nest', () => {
  expect(() =>
    checkShare('pod', [
      { name: 'a', source: '/1' },
      { name: 'ab/c', source: '/2' },
    ]),
  ).not.toThrow();
});

test('a source that is not there is named', () => {
  expect(() => bindArguments('pod', [{ name: 'a', source: '/nowhere/at/all' }])).toThrow(
    /cannot read \/nowhere\/at\/all/,
  );
});

// Mounting needs root (CAP_SYS_ADMIN).
test('binds appear in the private namespace only, read-only ones with all mounts below them', () => {
  const folder = temporaryFolder();
  const share = join(folder, 'share');
  const plain = join(folder, 'plain');
  const odd = join(folder, 'odd, with 100% spaces');
  for (const path of [share, plain, join(odd, 'below')]) mkdirSync(path, { recursive: true });
  writeFileSync(join(plain, 'file'), 'plain\n');
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'nosuid', 'test', join(odd, 'below')]);
  onTestFinished(() => void execFileSync('umount', [join(odd, 'below')]));
  writeFileSync(join(odd, 'below', 'deep'), 'deep\n');
  const binds: ShareBind[] = [
    { name: 'web/rootfs', source: plain },
    { name: 'web/mounts/0', source: odd, readonly: true },
    { name: 'web/mounts/1', source: join(plain, 'file'), readonly: true },
  ];
  const script = `
    cd ${share}
    cat web/rootfs/file web/mounts/0/below/deep web/mounts/1
    echo new >web/rootfs/new && echo wrote rootfs
    for f in web/mounts/0/x web/mounts/0/below/x web/mounts/1 web/x; do echo x >$f || echo cannot write $f; done
    grep -c ' ${share}/web/mounts/0/below ro,nosuid' /proc/self/mountinfo
    ls -l /proc/self/fd/9`;
  const { file, args } = inPrivateMounts(share, bindArguments('pod', binds), ['sh', '-c', script]);
  const before = readFileSync('/proc/self/mountinfo', 'utf8');
  const result = spawnSync(file, args, { encoding: 'utf8' });
  const lines = result.stdout.trim().split('\n');
  expect(lines.slice(0, -1), result.stderr).toEqual([
    ...['plain', 'deep', 'plain', 'wrote rootfs'],
    ...['cannot write web/mounts/0/x', 'cannot write web/mounts/0/below/x'],
    ...['cannot write web/mounts/1', 'cannot write web/x', '1'],
  ]);
  expect(lines.at(-1)).toMatch(/-> mnt:\[\d+\]$/);
  expect(readFileSync(join(plain, 'new'), 'utf8')).toBe('new\n');
  expect(readFileSync('/proc/self/mountinfo', 'utf8')).toBe(before);
  expect(readdirSync(share)).toEqual([]);
});

test('a mount that fails ends it before the command, with the reason', () => {
  const folder = temporaryFolder();
  const { file, args } = inPrivateMounts(join(folder, 'missing'), [], ['echo', 'reached']);
  const result = spawnSync(file, args, { encoding: 'utf8' });
  expect(result).toMatchObject({ stdout: '', stderr: expect.stringContaining('missing') });
  expect(result.status).not.toBe(0);
});
