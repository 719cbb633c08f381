import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { extractVmlinux, hasPvhEntry } from './vmlinux.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-vmlinux-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** An ELF file with one note (elf(5)): name, type, four bytes of data. */
function elfWithNote(name: string, type: number): Buffer {
  const note = Buffer.alloc(12 + 4 + 4);
  note.writeUInt32LE(name.length + 1, 0);
  note.writeUInt32LE(4, 4);
  note.writeUInt32LE(type, 8);
  note.write(name, 12);
  const headers = Buffer.alloc(64 + 56);
  headers.write('\x7fELF\x02\x01\x01', 0, 'latin1');
  headers.writeBigUInt64LE(64n, 0x20);
  headers.writeUInt16LE(56, 0x36);
  headers.writeUInt16LE(1, 0x38);
  headers.writeUInt32LE(4, 64);
  headers.writeBigUInt64LE(BigInt(headers.length), 64 + 8);
  headers.writeBigUInt64LE(BigInt(note.length), 64 + 32);
  return Buffer.concat([headers, note]);
}

test('the entry of PVH is the Xen note of type 18 and no other', () => {
  expect(hasPvhEntry(elfWithNote('Xen', 18))).toBe(true);
  expect(hasPvhEntry(elfWithNote('Xen', 6))).toBe(false);
  expect(hasPvhEntry(elfWithNote('GNU', 18))).toBe(false);
  expect(hasPvhEntry(Buffer.from('no ELF file'))).toBe(false);
});

/** A bzImage (Documentation/arch/x86/boot.rst) whose setup code has one sector besides the first. */
function bzImage(payload: Buffer): Buffer {
  const setup = Buffer.alloc(2 * 512);
  setup.writeUInt8(1, 0x1f1);
  setup.write('HdrS', 0x202);
  setup.writeUInt32LE(100, 0x248);
  setup.writeUInt32LE(payload.length + 4, 0x24c);
  return Buffer.concat([setup, Buffer.alloc(100), payload, Buffer.alloc(4), Buffer.from('what follows')]);
}

const elf = elfWithNote('Xen', 18);

test.each([
  ['xz', ['-c']],
  ['gzip', ['-c']],
  ['zstd', ['-c']],
  ['lz4', ['-lc']],
])('a kernel compressed by %s', async (program, args) => {
  const [file, output] = [join(folder, program), join(folder, `${program}.out`)];
  writeFileSync(file, bzImage(execFileSync(program, args, { input: elf })));
  await extractVmlinux(file, output);
  expect(readFileSync(output).equals(elf)).toBe(true);
});

test.each([
  ['short', Buffer.from('MZ'), 'is no kernel in the bzImage format'],
  ['foreign', Buffer.alloc(4096, 1), 'is no kernel in the bzImage format'],
  ['unknown', bzImage(Buffer.from('plain')), 'is compressed in a way that is not known'],
  ['text', bzImage(execFileSync('gzip', ['-c'], { input: 'text' })), 'is no ELF file'],
])('%s: refused with its name', async (name, content, message) => {
  const file = join(folder, name);
  writeFileSync(file, content);
  await expect(extractVmlinux(file, join(folder, 'out'))).rejects.toThrow(message);
  await expect(extractVmlinux(file, join(folder, 'out'))).rejects.toThrow(file);
});
