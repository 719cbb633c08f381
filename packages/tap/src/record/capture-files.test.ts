import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { CaptureReader } from '../read/capture-reader.ts';
import { makeCapture } from '../testing/make-capture.ts';
import { CaptureFiles } from './capture-files.ts';

const folder = mkdtempSync(join(tmpdir(), 'coracle-tap-'));
afterAll(() => rmSync(folder, { recursive: true }));

const capture = makeCapture('headers', (sandbox) => {
  const box = sandbox('box').bound().attach();
  for (let at = 0; at < 1000; at++) box.data(6, at, 'x');
});

function recordsIn(path: string): number {
  let problems = 0;
  const reader = new CaptureReader({ record: () => undefined, damage: () => problems++ });
  reader.push(readFileSync(path), true);
  expect(problems).toBe(0);
  return reader.records;
}

function write(name: string, files: number, maxFileBytes: number): CaptureFiles {
  const target = new CaptureFiles({ path: join(folder, name), maxFileBytes, files });
  // Blocks are cut by whoever sends them.
  for (let at = 0; at < capture.length; at += 999) target.write(capture.subarray(at, at + 999));
  target.close();
  return target;
}

it('the last files are kept, each can be read alone, and none is larger than it may be', () => {
  write('ring', 3, 20_000);
  const paths = ['ring', 'ring.1', 'ring.2'].map((name) => join(folder, name));
  expect(existsSync(join(folder, 'ring.3'))).toBe(false);
  for (const path of paths) {
    expect(statSync(path).size).toBeLessThanOrEqual(20_000);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(recordsIn(path)).toBeGreaterThan(100);
  }
});

it('one file ends when it is full, between two blocks', () => {
  const target = write('one', 1, 20_000);
  expect(target.full).toBe(true);
  expect(recordsIn(join(folder, 'one'))).toBe(target.packets);
});

it('never writes over a file', () => {
  write('there', 1, 1e9);
  expect(recordsIn(join(folder, 'there'))).toBe(1004);
  expect(() => new CaptureFiles({ path: join(folder, 'there'), maxFileBytes: 1e9, files: 1 })).toThrow(
    /it is there already/,
  );
});
