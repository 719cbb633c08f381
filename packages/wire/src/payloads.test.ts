import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { encodeFrame, type Frame, FrameType, MORE, readHeader } from './frame.ts';
import { HEADER_BYTES, MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES } from './limits.ts';
import { encodeMessage, MessageAssembler } from './message.ts';
import {
  Cause,
  type CauseName,
  type ControlRecord,
  decodeAttach,
  decodeAttached,
  decodeControlRecords,
  decodeExit,
  decodeFailure,
  decodeWindow,
  encodeAttach,
  encodeAttached,
  encodeControlRecord,
  encodeExit,
  encodeFailure,
  encodeWindow,
} from './payloads.ts';
import { chooseVersion, decodePreamble, encodePreamble } from './preamble.ts';
import { anyOffset, preamble } from './testing/arbitraries.ts';

const anyCredit = fc.record({ delivered: anyOffset, limit: anyOffset });
const anyWord = fc.integer({ min: 0, max: 0xffff_ffff });

function survives<T>(any: fc.Arbitrary<T>, encodeAndDecode: (value: T) => T): void {
  fc.assert(
    fc.property(any, (value) => {
      expect(encodeAndDecode(value)).toEqual(value);
    }),
  );
}

describe('payloads survive encoding', () => {
  it('WINDOW', () => survives(anyOffset, (limit) => decodeWindow(encodeWindow(limit))));

  it('ATTACH', () => {
    const token = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes));
    const any = fc.record({ token, stdout: anyCredit, stderr: anyCredit });
    survives(any, (attach) => ({ ...decodeAttach(encodeAttach(attach)), token: attach.token }));
    fc.assert(
      fc.property(any, (attach) => {
        expect([...decodeAttach(encodeAttach(attach)).token]).toEqual([...attach.token]);
      }),
    );
  });

  it('ATTACHED', () => {
    const any = fc.record({
      stdin: anyCredit,
      control: anyCredit,
      stdoutStart: anyOffset,
      stderrStart: anyOffset,
    });
    survives(any, (attached) => decodeAttached(encodeAttached(attached)));
  });

  it('EXIT', () => {
    const any = fc.record({
      cause: fc.constantFrom(...(Object.keys(Cause) as CauseName[])),
      waitStatus: anyWord,
      stdoutFinal: anyOffset,
      stderrFinal: anyOffset,
      message: fc.string({ unit: 'grapheme', maxLength: 200 }),
    });
    survives(any, (exit) => decodeExit(encodeExit(exit)));
  });

  it('REFUSED and GOAWAY', () => {
    const any = fc.record({ code: anyWord, message: fc.string({ unit: 'grapheme' }) });
    survives(any, ({ code, message }) => decodeFailure(encodeFailure(code, message)));
  });

  it('control records', () => {
    const word = fc.integer({ min: 0, max: 0xffff });
    const any: fc.Arbitrary<ControlRecord> = fc.oneof(
      fc.record({ kind: fc.constant('signal' as const), signal: fc.integer({ min: 1, max: 64 }) }),
      fc.record({ kind: fc.constant('resize' as const), columns: word, rows: word }),
    );
    survives(fc.array(any), (records) =>
      decodeControlRecords(Buffer.concat(records.map(encodeControlRecord))),
    );
  });

  it('preambles', () => {
    const epoch: fc.Arbitrary<Buffer> = fc
      .uint8Array({ minLength: 16, maxLength: 16 })
      .map((bytes) => Buffer.from(bytes));
    const version = fc.integer({ min: 0, max: 0xffff });
    const any = fc.record({
      versionMin: version,
      versionMax: version,
      features: anyWord,
      epoch,
      echo: epoch,
      role: fc.integer({ min: 0, max: 255 }),
    });
    survives(any, (fields) => decodePreamble(encodePreamble(fields)));
  });
});

it('texts are cut to 4,096 bytes at the start of a character', () => {
  const { message } = decodeFailure(encodeFailure(1, `${'x'.repeat(4094)}€uro`));
  expect(message).toBe('x'.repeat(4094));
  expect(decodeFailure(encodeFailure(1, 'y'.repeat(5000))).message.length).toBe(4096);
});

it.each([
  ['a cut record', '0100090000000000 02'],
  ['signal 0', '0100000000000000'],
  ['signal 65', '0100410000000000'],
  ['an unknown kind', '0300010000000000'],
  ['reserved bytes', '0101090000000000'],
  ['a second value in a signal', '0100090001000000'],
])('a control stream with %s breaks the rules', (_, hex) => {
  expect(() => decodeControlRecords(Buffer.from(hex.replaceAll(' ', ''), 'hex'))).toThrow(
    'protocol violation',
  );
});

it('an unknown cause of exit breaks the rules', () => {
  expect(() => decodeExit(Buffer.alloc(24))).toThrow('unknown cause of exit 0');
});

it.each([
  [1, 1, 1],
  [1, 9, 1],
  [0, 1, 1],
  [2, 9, undefined],
  [0, 0, undefined],
  [9, 1, undefined],
])('of versions %i to %i it chooses %s', (versionMin, versionMax, chosen) => {
  expect(chooseVersion(decodePreamble(preamble({ versionMin, versionMax })))).toBe(chosen);
});

describe('messages', () => {
  const frameOf = (bytes: Buffer): Frame => {
    const header = readHeader(bytes, 0);
    return { ...header, payload: bytes.subarray(HEADER_BYTES, HEADER_BYTES + header.length), encoded: bytes };
  };
  const part = (id: number, payload: Uint8Array, more = true): Frame =>
    frameOf(encodeFrame({ type: FrameType.REQUEST, id, flags: more ? MORE : 0, payload }));

  it.each([0, 1, MAX_PAYLOAD_BYTES - 1, MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES + 1, MAX_MESSAGE_BYTES])(
    'of %i bytes are put together again',
    (length) => {
      const message = Buffer.alloc(length, 'abcdefg');
      const frames = encodeMessage(FrameType.REQUEST, 5, message).map(frameOf);
      expect(frames.length).toBe(Math.max(1, Math.ceil(length / MAX_PAYLOAD_BYTES)));
      const assembler = new MessageAssembler(1);
      const results = frames.map((frame) => assembler.add(frame));
      expect(results.slice(0, -1).every((result) => result === undefined)).toBe(true);
      expect(results.at(-1)?.equals(message)).toBe(true);
    },
  );

  it('above 4 MiB are refused on both sides', () => {
    expect(() => encodeMessage(FrameType.REQUEST, 5, Buffer.alloc(MAX_MESSAGE_BYTES + 1))).toThrow(
      'resource_exhausted',
    );
    const assembler = new MessageAssembler(1);
    const full = Buffer.alloc(MAX_PAYLOAD_BYTES);
    const parts = Math.floor(MAX_MESSAGE_BYTES / MAX_PAYLOAD_BYTES);
    for (let i = 0; i < parts; i++) assembler.add(part(5, full));
    expect(() => assembler.add(part(5, full))).toThrow('larger than 4194304 bytes');
  });

  it('may be interleaved, up to a number', () => {
    const assembler = new MessageAssembler(2);
    assembler.add(part(1, Buffer.from('a')));
    assembler.add(part(2, Buffer.from('x')));
    expect(() => assembler.add(part(3, Buffer.from('-')))).toThrow('more than 2 unfinished messages');
    expect(assembler.add(part(1, Buffer.from('b'), false))?.toString()).toBe('ab');
    expect(assembler.add(part(2, Buffer.alloc(0), false))?.toString()).toBe('x');
  });

  /** Memory follows bytes and not parts: a part of nothing cost an object, for ever. */
  it('take no memory for parts without bytes', () => {
    const assembler = new MessageAssembler(1);
    const empty = part(1, Buffer.alloc(0));
    globalThis.gc?.();
    const before = process.memoryUsage().heapUsed;
    for (let i = 0; i < 1_000_000; i++) assembler.add(empty);
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 * 1024 * 1024);
    expect(assembler.add(part(1, Buffer.from('end'), false))?.toString()).toBe('end');
  });

  it('own their memory', () => {
    const assembler = new MessageAssembler(1);
    const frame = part(1, Buffer.from('abc'), false);
    const message = assembler.add(frame);
    frame.payload.fill(0);
    expect(message?.toString()).toBe('abc');
  });
});
