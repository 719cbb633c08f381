/** Random frames and cuts for fast-check, and a decoder that collects what it hands out. */
import { randomBytes } from 'node:crypto';
import * as fc from 'fast-check';
import { Decoder } from '../decode.ts';
import { type Frame, type FrameFields, FrameType, MORE } from '../frame.ts';
import { MAX_PAYLOAD_BYTES } from '../limits.ts';
import { EPOCH_BYTES, encodePreamble, type Preamble, Role } from '../preamble.ts';
import { referenceTypes } from './reference-codec.ts';

export const MAX_OFFSET = 2 ** 53 - 1;

/** Offsets with the edges that 64-bit arithmetic on doubles gets wrong. */
export const anyOffset: fc.Arbitrary<number> = fc.oneof(
  fc.constantFrom(0, 1, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 32 + 1, MAX_OFFSET - 1, MAX_OFFSET),
  fc.nat(4096),
  fc.integer({ min: 0, max: MAX_OFFSET }),
);

const anyWord = fc.integer({ min: 0, max: 0xffff_ffff });

/** Any valid frame; payloads are short unless `long`, so that failing cases can be read. */
export function anyFrame(long = false): fc.Arbitrary<Required<FrameFields>> {
  return fc.constantFrom(...Object.values(FrameType)).chain((type) => {
    const [least, most] = referenceTypes[type] as [number, number, number];
    const usual = fc.uint8Array({ minLength: least, maxLength: Math.min(most, least + 40) });
    const payload = long
      ? fc.oneof(
          usual,
          fc.integer({ min: least, max: most }).map((length) => new Uint8Array(randomBytes(length))),
        )
      : usual;
    const message = type === FrameType.REQUEST || type === FrameType.RESPONSE;
    return fc
      .record({
        type: fc.constant(type),
        flags: message ? fc.constantFrom(0, MORE) : fc.constant(0),
        id: anyWord,
        generation: anyWord,
        offset: type <= FrameType.WINDOW ? anyOffset : fc.constant(0),
        payload,
      })
      .map((frame) =>
        type === FrameType.DATA
          ? { ...frame, offset: Math.min(frame.offset, MAX_OFFSET - frame.payload.length) }
          : frame,
      );
  });
}

/** Cuts `bytes` at `points` (numbers from 0 to 1) into chunks that share no memory with each other. */
export function cut(bytes: Buffer, points: readonly number[]): Buffer[] {
  const at = [...points.map((point) => Math.floor(point * bytes.length)), bytes.length].sort((a, b) => a - b);
  let from = 0;
  return at.map((to) => {
    const chunk = Buffer.from(bytes.subarray(from, to));
    from = to;
    return chunk;
  });
}

export const anyCuts = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 12 });

export function preamble(fields: Partial<Preamble> = {}): Buffer {
  return encodePreamble({
    versionMin: 1,
    versionMax: 1,
    features: 0,
    epoch: Buffer.alloc(EPOCH_BYTES, 7),
    echo: Buffer.alloc(EPOCH_BYTES),
    role: Role.proxy,
    ...fields,
  });
}

export interface Collected {
  readonly decoder: Decoder;
  readonly frames: Frame[];
  readonly preambles: Preamble[];
}

/** A decoder that has what it hands out in arrays. */
export function collect(
  options: { resynchronise?: boolean; accept?: (preamble: Preamble) => boolean } = {},
): Collected {
  const frames: Frame[] = [];
  const preambles: Preamble[] = [];
  const decoder = new Decoder(
    {
      preamble: (found) => {
        preambles.push(found);
        return options.accept?.(found) ?? true;
      },
      frame: (frame) => frames.push(frame),
    },
    { resynchronise: options.resynchronise ?? true },
  );
  return { decoder, frames, preambles };
}

/** The fields of a frame that was decoded, as encodeFrame takes them. */
export function fieldsOf(frame: Frame): Required<FrameFields> {
  const { type, flags, id, generation, offset, payload } = frame;
  return { type, flags, id, generation, offset, payload: new Uint8Array(payload) };
}

export { MAX_PAYLOAD_BYTES };
