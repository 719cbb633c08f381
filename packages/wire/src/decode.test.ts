import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isRpcError } from './errors.ts';
import { encodeFrame, type FrameFields, FrameType } from './frame.ts';
import { HEADER_BYTES, MAX_FRAME_BYTES, MAX_PAYLOAD_BYTES } from './limits.ts';
import { FLUSH, MAGIC, PREAMBLE_BYTES } from './preamble.ts';
import { anyCuts, anyFrame, collect, cut, fieldsOf, preamble } from './testing/arbitraries.ts';
import { type ReferenceEvent, referenceDecode, referenceTypes } from './testing/reference-codec.ts';

const anyStream = (long = false): fc.Arbitrary<Required<FrameFields>[]> =>
  fc.array(anyFrame(long), { minLength: 1, maxLength: 12 });

function encodeAll(frames: readonly FrameFields[]): Buffer {
  return Buffer.concat([preamble(), ...frames.map(encodeFrame)]);
}

/** The smallest payload of a type, but a byte where one is allowed. */
function leastPayload(type: FrameType): number {
  const [least, most] = referenceTypes[type] as [number, number, number];
  return Math.min(most, Math.max(1, least));
}

/** What the decoder makes of `chunks`, in the words of the reference. */
function decode(
  chunks: readonly Buffer[],
  resynchronise: boolean,
  accept: (preamble: number[]) => boolean,
): ReferenceEvent[] {
  const events: ReferenceEvent[] = [];
  const collected = collect({
    resynchronise,
    accept: (found) => {
      const bytes = [...preamble(found)];
      events.push({ kind: 'preamble', bytes });
      return accept(bytes);
    },
  });
  const takeFrames = (): void => {
    for (const { type, flags, id, generation, offset, payload } of collected.frames.splice(0)) {
      events.push({
        kind: 'frame',
        frame: { type, flags, id, generation, offset: BigInt(offset), payload: [...payload] },
      });
    }
  };
  try {
    for (const chunk of chunks) {
      collected.decoder.push(chunk);
      takeFrames();
    }
  } catch (error) {
    takeFrames();
    expect(isRpcError(error)).toBe(true);
    events.push({ kind: 'error' });
  }
  return events;
}

const outcome = (events: ReferenceEvent[]) => ({
  frames: events.filter((event) => event.kind === 'frame'),
  preambles: events.filter((event) => event.kind === 'preamble'),
  failed: events.at(-1)?.kind === 'error',
});

describe('frames', () => {
  it('come out as they went in, however the stream is cut', () => {
    fc.assert(
      fc.property(anyStream(true), anyCuts, (frames, cuts) => {
        const { decoder, frames: decoded } = collect();
        for (const chunk of cut(encodeAll(frames), cuts)) decoder.push(chunk);
        expect(decoded.map(fieldsOf)).toEqual(frames);
        expect(Buffer.concat(decoded.map((frame) => frame.encoded))).toEqual(
          encodeAll(frames).subarray(PREAMBLE_BYTES),
        );
      }),
      { numRuns: 200 },
    );
  });

  it('of every type come out whole at every single position of one cut', () => {
    const frames = Object.values(FrameType).map((type, i) => ({
      type,
      flags: 0,
      id: 4 * i + 4,
      generation: 0xffff_ffff - i,
      offset: type <= FrameType.WINDOW ? 2 ** 53 - 2 - i : 0,
      payload: new Uint8Array(leastPayload(type)).fill(i),
    }));
    const bytes = encodeAll(frames);
    for (let at = 0; at <= bytes.length; at++) {
      const { decoder, frames: decoded } = collect();
      decoder.push(Buffer.from(bytes.subarray(0, at)));
      decoder.push(Buffer.from(bytes.subarray(at)));
      expect(decoded.map(fieldsOf), `cut at ${at}`).toEqual(frames);
    }
  });

  it('are decoded as the slow reference decodes them, garbage included', () => {
    const part = fc.oneof(
      anyFrame().map(encodeFrame),
      fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
      fc.integer({ min: 1, max: 64 }).map((length) => Buffer.alloc(length)),
      fc.constantFrom(1, 2, 3).map((epoch) => preamble({ epoch: Buffer.alloc(16, epoch) })),
      fc.tuple(anyFrame(), fc.double({ min: 0, max: 1, noNaN: true })).map(([frame, point]) => {
        const bytes = encodeFrame(frame);
        return bytes.subarray(0, Math.floor(point * bytes.length));
      }),
      fc.tuple(anyFrame(), fc.nat(), fc.nat(255)).map(([frame, at, value]) => {
        const bytes = encodeFrame(frame);
        bytes[at % bytes.length] = value;
        return bytes;
      }),
    );
    fc.assert(
      fc.property(
        fc.array(part, { maxLength: 8 }),
        anyCuts,
        fc.boolean(),
        fc.boolean(),
        (parts, cuts, resynchronise, greeted) => {
          const bytes = Buffer.concat(greeted ? [preamble(), ...parts] : parts);
          // Epoch 3 stands for a preamble that is not the one waited for.
          const accept = (found: number[]) => found[24] !== 3;
          const fast = outcome(decode(cut(bytes, cuts), resynchronise, accept));
          const slow = outcome(referenceDecode(bytes, resynchronise, accept));
          expect(fast).toEqual(slow);
        },
      ),
      { numRuns: 4000 },
    );
  });

  it('that are random never make it throw anything but a RpcError', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 4096, size: 'max' }), fc.boolean(), (bytes, resynchronise) => {
        const { decoder } = collect({ resynchronise });
        try {
          decoder.push(Buffer.concat([preamble(), bytes]));
        } catch (error) {
          expect(isRpcError(error) && error.code).toBe('invalid_argument');
        }
      }),
      { numRuns: 500 },
    );
  });

  it.each([
    ['DATA above the limit', 1, MAX_PAYLOAD_BYTES + 1, 0, 'DATA with a payload of 32741 bytes'],
    ['DATA of 4 GiB', 1, 0xffff_ffff, 0, 'DATA with a payload of 4294967295 bytes'],
    ['DATA without bytes', 1, 0, 0, 'DATA with a payload of 0 bytes'],
    ['EOF with a payload', 2, 1, 0, 'EOF with a payload of 1 bytes'],
    ['an unknown type', 0x7f, 8, 0, 'unknown frame type 0x7f'],
    ['MORE on DATA', 1, 8, 0x01, 'unknown flags 0x1 in DATA'],
    ['unknown flags on REQUEST', 0x10, 8, 0x02, 'unknown flags 0x2 in REQUEST'],
    ['reserved bits', 1, 8, 0x0100, 'reserved bits set in DATA'],
  ])('judges %s when the header is there, before its payload', (_, type, length, rest, message) => {
    const header = Buffer.alloc(HEADER_BYTES);
    header.writeUInt32LE(length, 0);
    header.writeUInt8(type, 4);
    header.writeUInt16LE(rest & 0xff, 5);
    header.writeUInt8(rest >>> 8, 6);
    const { decoder } = collect();
    decoder.push(preamble());
    decoder.push(header.subarray(0, HEADER_BYTES - 1));
    expect(() => decoder.push(header.subarray(HEADER_BYTES - 1))).toThrow(message);
  });
});

describe('preambles', () => {
  it('are found wherever they are cut, behind anything', () => {
    const noise = Buffer.concat([
      Buffer.alloc(5),
      MAGIC.subarray(0, 10),
      encodeFrame({ type: 1, payload: MAGIC }),
    ]);
    const bytes = Buffer.concat([noise, preamble(), encodeFrame({ type: FrameType.BOUND })]);
    for (let at = 0; at <= bytes.length; at++) {
      // An opener: the magic within the noise is followed by bytes that are no preamble of its epoch.
      const { decoder, frames } = collect({
        resynchronise: false,
        accept: (found) => found.epoch[0] === 7 && found.role === 2,
      });
      decoder.push(Buffer.from(bytes.subarray(0, at)));
      decoder.push(Buffer.from(bytes.subarray(at)));
      expect(
        frames.map((frame) => frame.type),
        `cut at ${at}`,
      ).toEqual([FrameType.BOUND]);
    }
  });

  it('of other epochs are skipped by an opener, with everything behind them', () => {
    const own = Buffer.alloc(16, 9);
    const { decoder, frames, preambles } = collect({
      resynchronise: false,
      accept: (found) => found.echo.equals(own),
    });
    const stale = [
      preamble({ echo: Buffer.alloc(16, 1) }),
      encodeFrame({ type: FrameType.DATA, id: 6, payload: Buffer.from('old') }),
      preamble({ echo: Buffer.alloc(16, 2) }).subarray(0, 63),
    ];
    const fresh = [
      preamble({ echo: own }),
      encodeFrame({ type: FrameType.DATA, id: 6, payload: Buffer.from('new') }),
    ];
    decoder.push(Buffer.concat([...stale, ...fresh]));
    expect(preambles.length).toBeGreaterThanOrEqual(2);
    expect(frames.map((frame) => frame.payload.toString())).toEqual(['new']);
  });

  it('and zeros in the middle of frames end an opener', () => {
    for (const bytes of [preamble(), Buffer.alloc(HEADER_BYTES)]) {
      const { decoder } = collect({ resynchronise: false });
      decoder.push(preamble());
      expect(() => decoder.push(bytes)).toThrow('a preamble or zeros where a frame was expected');
    }
  });
});

/**
 * A proxy that dies in the middle of a write leaves a torn frame in the virtio-serial queue. Its successor
 * sends zeros and a new preamble; nothing of the torn frame may come out, and everything after must.
 */
describe('a torn frame', () => {
  const after = encodeFrame({ type: FrameType.DATA, id: 5, offset: 77, payload: Buffer.from('after') });
  const next = preamble({ epoch: Buffer.alloc(16, 2) });

  function tear(frame: Buffer, at: number): void {
    const { decoder, frames, preambles } = collect();
    decoder.push(preamble());
    const bytes = Buffer.concat([frame.subarray(0, at), FLUSH, next, after]);
    decoder.push(bytes);
    expect(preambles.length, `torn at ${at} of ${frame.length}`).toBe(2);
    const payloads = frames.map((decoded) => decoded.payload.toString());
    expect(payloads, `torn at ${at} of ${frame.length}`).toEqual(['after']);
  }

  it('of every type is dropped wherever it is torn', () => {
    for (const type of Object.values(FrameType)) {
      const [least, most] = referenceTypes[type] as [number, number, number];
      // Every length whose bytes differ matters: 0x104 and 0x7fe4 are torn to lengths that are valid themselves.
      for (const length of new Set([
        least,
        Math.min(most, least + 1),
        Math.min(most, 0x104),
        Math.min(most, 600),
      ])) {
        const frame = encodeFrame({
          type,
          id: 0x0403_0201,
          generation: 0xffff_ffff,
          offset: type <= FrameType.WINDOW ? 2 ** 53 - 1 - length : 0,
          payload: Buffer.alloc(length, 0xff),
        });
        for (let at = 0; at < frame.length; at++) tear(frame, at);
      }
    }
  });

  it('of the largest size is dropped at every byte', { timeout: 60_000 }, () => {
    const frame = encodeFrame({
      type: FrameType.DATA,
      id: 5,
      payload: Buffer.alloc(MAX_PAYLOAD_BYTES, 0xff),
    });
    expect(frame.length).toBe(MAX_FRAME_BYTES);
    const bytes = Buffer.concat([FLUSH, next, after]);
    for (let at = 0; at < frame.length; at++) {
      const { decoder, frames } = collect();
      decoder.push(preamble());
      decoder.push(frame.subarray(0, at));
      decoder.push(bytes);
      if (frames.length !== 1 || frames[0]?.payload.toString() !== 'after') {
        expect(
          frames.map((decoded) => decoded.payload.length),
          `torn at ${at}`,
        ).toEqual([5]);
      }
    }
  });

  it('ends an opener, whose transport can hold no older bytes', () => {
    const { decoder } = collect({ resynchronise: false });
    const frame = encodeFrame({ type: FrameType.EOF, id: 5 });
    frame[frame.length - 1] = 0;
    decoder.push(preamble());
    expect(() => decoder.push(frame)).toThrow('a frame with a wrong trailer');
  });
});

describe('time is linear in the bytes', () => {
  function millisecondsFor(chunks: Iterable<Buffer>): { ms: number; frames: number } {
    const { decoder, frames } = collect();
    decoder.push(preamble());
    const started = performance.now();
    for (const chunk of chunks) decoder.push(chunk);
    return { ms: performance.now() - started, frames: frames.length };
  }

  it('for four million bytes that come one by one', () => {
    const frame = encodeFrame({ type: FrameType.DATA, id: 5, payload: Buffer.alloc(MAX_PAYLOAD_BYTES) });
    const bytes = Buffer.concat(Array.from({ length: 128 }, () => frame));
    const chunks = (function* () {
      for (let i = 0; i < bytes.length; i++) yield bytes.subarray(i, i + 1);
    })();
    const { ms, frames } = millisecondsFor(chunks);
    expect(frames).toBe(128);
    expect(ms).toBeLessThan(5000);
  });

  it('for a million zeros that come one by one', () => {
    const zero = Buffer.alloc(1);
    const { ms } = millisecondsFor(
      (function* () {
        for (let i = 0; i < 1_000_000; i++) yield zero;
      })(),
    );
    expect(ms).toBeLessThan(5000);
  });

  it('for ten thousand frames in one chunk', () => {
    const frame = encodeFrame({ type: FrameType.DATA, id: 5, payload: Buffer.alloc(8) });
    const { ms, frames } = millisecondsFor([Buffer.concat(Array.from({ length: 10_000 }, () => frame))]);
    expect(frames).toBe(10_000);
    expect(ms).toBeLessThan(1000);
  });

  it('for ten thousand preambles that are not the one waited for, in one chunk', () => {
    const { decoder, preambles } = collect({ accept: () => false });
    const started = performance.now();
    decoder.push(Buffer.concat(Array.from({ length: 10_000 }, () => preamble())));
    expect(preambles.length).toBe(10_000);
    expect(performance.now() - started).toBeLessThan(1000);
  });
});
