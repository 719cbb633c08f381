import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type CpioEntry, encodeCpio } from './cpio.ts';

const entries: CpioEntry[] = [
  { kind: 'file', path: 'init', data: Buffer.from('#!/bin/busybox sh\n'), mode: 0o755 },
  { kind: 'file', path: 'a/b/odd', data: Buffer.from('12345') },
  { kind: 'file', path: 'a/empty', data: new Uint8Array(0), mode: 0o600 },
  { kind: 'directory', path: 'dev' },
  { kind: 'symlink', path: 'bin', target: 'usr/bin' },
];

describe('encodeCpio', () => {
  test('cpio lists all entries, folders before what is in them', () => {
    const listed = execFileSync('cpio', ['-t', '--quiet'], { input: encodeCpio(entries), encoding: 'utf8' });
    expect(listed.trim().split('\n')).toEqual(['a', 'a/b', 'a/b/odd', 'a/empty', 'bin', 'dev', 'init']);
  });

  test('cpio unpacks contents, modes and links', () => {
    const folder = mkdtempSync(join(tmpdir(), 'coracle-cpio-'));
    try {
      execFileSync('cpio', ['-idm', '--quiet'], { cwd: folder, input: encodeCpio(entries) });
      expect(readFileSync(join(folder, 'a/b/odd'), 'utf8')).toBe('12345');
      expect(statSync(join(folder, 'init')).mode & 0o777).toBe(0o755);
      expect(statSync(join(folder, 'a/empty')).mode & 0o777).toBe(0o600);
      expect(statSync(join(folder, 'init')).mtimeMs).toBe(0);
      expect(readlinkSync(join(folder, 'bin'))).toBe('usr/bin');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('gives the same bytes in whatever order the entries come', () => {
    const wanted = encodeCpio(entries);
    fc.assert(
      fc.property(fc.shuffledSubarray(entries, { minLength: entries.length }), (shuffled) => {
        expect(encodeCpio(shuffled).equals(wanted)).toBe(true);
      }),
    );
  });

  test.each(['/init', '', 'a//b', '../x', 'a/../b'])('refuses the path %j', (path) => {
    expect(() => encodeCpio([{ kind: 'directory', path }])).toThrow(RangeError);
  });

  test('refuses a path that is given twice', () => {
    expect(() => encodeCpio([...entries, { kind: 'directory', path: 'init' }])).toThrow(
      'init is given twice',
    );
  });
});
