/** Captures that were cut, damaged, or are of a later version: what can be read is read, the rest is reported. */
import { randomBytes } from 'node:crypto';
import { BlockType, RECORD_VERSION } from '@coracle/wire';
import { describe, expect, it } from 'vitest';
import { makeCapture } from '../testing/make-capture.ts';
import { CaptureReader, type Damage } from './capture-reader.ts';

const file = makeCapture('digests', (sandbox) => {
  const box = sandbox('box-1').bound().attach();
  for (let at = 0; at < 100; at++) box.data(6, at * 5, 'hello').window(6, at * 5, at * 5 + 1024);
  sandbox('box-2').bound();
});

interface Block {
  readonly type: number;
  readonly at: number;
  readonly length: number;
}

function blocksOf(bytes: Buffer): Block[] {
  const blocks: Block[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.readUInt32LE(at + 4);
    blocks.push({ type: bytes.readUInt32LE(at), at, length });
    at += length;
  }
  return blocks;
}

const blocks = blocksOf(file);
const packets = blocks.filter(({ type }) => type === BlockType.packet);

function read(bytes: Buffer, chunkBytes = bytes.length) {
  const damages: Damage[] = [];
  const seen: string[] = [];
  const reader = new CaptureReader({
    record: ({ sandbox, type, fileOffset }) => void seen.push(`${fileOffset} ${sandbox} ${type}`),
    damage: (damage) => void damages.push(damage),
  });
  let rest: Buffer = Buffer.alloc(0);
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    rest = Buffer.concat([rest, bytes.subarray(at, at + chunkBytes)]);
    rest = rest.subarray(reader.push(rest));
  }
  reader.push(rest, true);
  return { damages, seen, reader };
}

const whole = read(file);

it('reads each record once, however the bytes are cut', () => {
  expect(whole.damages).toEqual([]);
  expect(whole.seen.length).toBe(packets.length);
  for (const chunkBytes of [1, 7, 64, 4096]) expect(read(file, chunkBytes).seen).toEqual(whole.seen);
});

it('a file that was cut anywhere is read up to there, and the cut reported with its offset', () => {
  for (let end = 0; end <= file.length; end += end < 1000 ? 1 : 37) {
    const { damages, seen } = read(file.subarray(0, end));
    const before = packets.filter(({ at, length }) => at + length <= end).length;
    expect(seen).toEqual(whole.seen.slice(0, before));
    const cut = blocks.find(({ at, length }) => at < end && end < at + length);
    expect(damages.map(({ offset }) => offset)).toEqual(cut === undefined ? [] : [cut.at]);
  }
});

it('a damaged block is reported with its offset, and costs no other record', () => {
  for (const { at, length } of packets.slice(3, 40)) {
    for (const place of [0, 1, 4, 5, 7, length - 4, length - 1]) {
      const damaged = Buffer.from(file);
      damaged[at + place] = (damaged[at + place] as number) ^ 0x5a;
      const { damages, seen } = read(damaged, 100);
      // A type that is not known is no damage: later versions of the format have others.
      if (place > 1) expect(damages[0]).toMatchObject({ offset: at });
      expect(seen, `byte ${place} of the block at ${at}: ${JSON.stringify(damages)}`).toEqual(
        whole.seen.filter((line) => !line.startsWith(`${at} `)),
      );
    }
  }
});

it('bytes that were put in or taken out are skipped', () => {
  const { at } = packets[20] as Block;
  const noise = Buffer.concat([file.subarray(0, at), randomBytes(333), file.subarray(at)]);
  const more = read(noise, 1000);
  expect(more.seen.length).toBe(packets.length);
  expect(more.damages).toMatchObject([{ offset: at, bytes: 333 }]);
  const less = read(Buffer.concat([file.subarray(0, at + 9), file.subarray(at + 30)]), 1000);
  expect(less.seen.length).toBe(packets.length - 1);
  expect(less.damages).toMatchObject([{ offset: at }]);
});

it('a record of a later version is counted and skipped', () => {
  const later = Buffer.from(file);
  const { at } = packets[5] as Block;
  later[at + 28] = RECORD_VERSION + 1;
  const { seen, damages, reader } = read(later);
  expect(seen.length).toBe(packets.length - 1);
  expect(damages).toEqual([]);
  expect(reader.otherVersions).toBe(1);
});

it('two sections, the second with interfaces of its own, are one capture', () => {
  const { seen, reader } = read(Buffer.concat([file, file]), 4096);
  expect(seen.length).toBe(2 * packets.length);
  expect(reader.sections).toBe(2);
});

describe('whatever the bytes are', () => {
  it('it ends, and never throws', () => {
    for (let round = 0; round < 300; round++) {
      const bytes = Buffer.from(file);
      for (let count = 0; count < 20; count++)
        bytes[Math.floor(Math.random() * bytes.length)] = Math.floor(Math.random() * 256);
      expect(read(bytes, 1 + Math.floor(Math.random() * 5000)).seen.length).toBeLessThanOrEqual(
        packets.length + 20,
      );
      read(randomBytes(2000), 333);
    }
  });
});
