/**
 * Changes inputs: bytes as AFL and libFuzzer do it, and whole frames, with lengths and trailers put right
 * again, since random bytes seldom get past them.
 */
import { encodeFrame, FrameType, HEADER_BYTES, MAX_PAYLOAD_BYTES, TRAILER_BYTES } from '@coracle/wire';
import type { Random } from './random.ts';

const TRAILER = Buffer.from('c5ace17e', 'hex');
const MAGIC = Buffer.from('c0ac1eff434f5241434c452d4c494e4b', 'hex');
/** Numbers at which something is decided. */
const EDGES = [
  0,
  1,
  4,
  7,
  8,
  24,
  28,
  47,
  48,
  63,
  64,
  127,
  128,
  255,
  256,
  1024,
  4096,
  4100,
  4101,
  4120,
  32739,
  32740,
  32741,
  32768,
  65535,
  65536,
  2 ** 20,
  2 ** 22,
  2 ** 30,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 52,
  2 ** 53 - 1,
  2 ** 53,
];
const types = Object.values(FrameType);

export function mutate(
  input: Buffer,
  other: Buffer,
  format: 'frames' | 'bytes',
  maxBytes: number,
  random: Random,
): Buffer {
  let bytes: Buffer = Buffer.from(input);
  for (let changes = 1 + random.below(4); changes > 0; changes--) {
    const change =
      format === 'frames' && random.below(3) > 0 ? random.pick(frameChanges) : random.pick(byteChanges);
    bytes = change(bytes, other, random);
  }
  return bytes.length > maxBytes ? bytes.subarray(0, maxBytes) : bytes;
}

type Change = (bytes: Buffer, other: Buffer, random: Random) => Buffer;

function splice(bytes: Buffer, at: number, removed: number, inserted: Buffer): Buffer {
  return Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at + removed)]);
}

function edge(random: Random, size: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(random.pick(EDGES)));
  return bytes.subarray(0, size);
}

const byteChanges: Change[] = [
  (bytes, _, random) => {
    if (bytes.length > 0) bytes[random.below(bytes.length)]! ^= 1 << random.below(8);
    return bytes;
  },
  (bytes, _, random) => {
    if (bytes.length > 0) bytes[random.below(bytes.length)] = random.word();
    return bytes;
  },
  (bytes, _, random) => splice(bytes, random.below(bytes.length + 1), 0, random.bytes(1 + random.below(8))),
  (bytes, _, random) =>
    splice(bytes, random.below(bytes.length), 1 + random.below(Math.min(32, bytes.length)), Buffer.alloc(0)),
  (bytes, _, random) => {
    const value = edge(random, random.pick([1, 2, 4, 8]));
    if (bytes.length >= value.length) value.copy(bytes, random.below(bytes.length - value.length + 1));
    return bytes;
  },
  (bytes, other, random) => {
    const from = random.below(other.length);
    const part = other.subarray(from, from + 1 + random.below(other.length - from));
    return splice(bytes, random.below(bytes.length + 1), random.below(2) * part.length, part);
  },
  (bytes, _, random) => {
    const from = random.below(bytes.length);
    const part = bytes.subarray(from, from + 1 + random.below(64));
    return splice(bytes, random.below(bytes.length + 1), 0, Buffer.from(part));
  },
  (bytes, _, random) => bytes.subarray(0, random.below(bytes.length + 1)),
  (bytes, _, random) =>
    splice(bytes, random.below(bytes.length + 1), 0, random.pick([TRAILER, MAGIC, Buffer.alloc(64)])),
];

/** Where frames seem to begin and end; bytes between them belong to none. */
export function findFrames(bytes: Buffer): { at: number; end: number }[] {
  const found: { at: number; end: number }[] = [];
  for (let at = 0; at + HEADER_BYTES + TRAILER_BYTES <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    const end = at + HEADER_BYTES + length + TRAILER_BYTES;
    if (
      length <= MAX_PAYLOAD_BYTES &&
      end <= bytes.length &&
      bytes.indexOf(TRAILER, end - TRAILER_BYTES) === end - TRAILER_BYTES
    ) {
      found.push({ at, end });
      at = end;
    } else at++;
  }
  return found;
}

/** The frame with another payload, its length and trailer right. */
function withPayload(frame: Buffer, payload: Buffer): Buffer {
  const header = Buffer.from(frame.subarray(0, HEADER_BYTES));
  header.writeUInt32LE(payload.length, 0);
  return Buffer.concat([header, payload, TRAILER]);
}

/** Any frame that a decoder takes. */
export function anyFrame(random: Random): Buffer {
  const type = random.pick(types);
  const exact: Partial<Record<FrameType, number>> = {
    [FrameType.WINDOW]: 8,
    [FrameType.ATTACH]: 48,
    [FrameType.ATTACHED]: 48,
    [FrameType.REFUSED]: 4 + random.below(12),
    [FrameType.GOAWAY]: 4 + random.below(12),
    [FrameType.EXIT]: 24 + random.below(12),
    [FrameType.DATA]: 1 + random.below(40),
    [FrameType.BIND]: 1 + random.below(20),
    [FrameType.REQUEST]: random.below(60),
    [FrameType.RESPONSE]: random.below(60),
  };
  const message = type === FrameType.REQUEST || type === FrameType.RESPONSE;
  const payload = random.below(2) ? random.bytes(exact[type] ?? 0) : Buffer.alloc(exact[type] ?? 0);
  for (let at = random.below(4) * 8; at + 8 <= payload.length; at += 8)
    if (random.below(2)) edge(random, 8).copy(payload, at);
  return encodeFrame({
    type,
    flags: message ? random.below(2) : 0,
    id: random.below(3) ? 4 + random.below(12) : random.pick(EDGES) % 2 ** 32,
    generation: random.below(3),
    offset: type <= FrameType.WINDOW ? Math.min(random.pick(EDGES), 2 ** 53 - 1 - payload.length) : 0,
    payload,
  });
}

/** A change of one frame, or of nothing when there is none. */
function ofOne(change: (frame: Buffer, random: Random, other: Buffer) => Buffer): Change {
  return (bytes, other, random) => {
    const frames = findFrames(bytes);
    if (frames.length === 0) return Buffer.concat([bytes, anyFrame(random)]);
    const { at, end } = random.pick(frames);
    return splice(bytes, at, end - at, change(Buffer.from(bytes.subarray(at, end)), random, other));
  };
}

const frameChanges: Change[] = [
  (bytes, _, random) => Buffer.concat([bytes, anyFrame(random)]),
  ofOne((frame, random) => Buffer.concat([anyFrame(random), frame])),
  ofOne(() => Buffer.alloc(0)),
  ofOne((frame) => Buffer.concat([frame, frame])),
  // type, flags, id, generation, offset
  ofOne((frame, random) => {
    const [at, size] = random.pick([
      [4, 1],
      [5, 1],
      [8, 4],
      [12, 4],
      [16, 8],
    ] as const);
    (random.below(3) ? edge(random, size) : random.bytes(size)).copy(frame, at);
    return frame;
  }),
  ofOne((frame, random) => {
    frame[4] = random.pick(types);
    return frame;
  }),
  // an offset or an id a little further on
  ofOne((frame, random) => {
    const at = random.pick([8, 12, 16]);
    frame.writeUInt32LE((frame.readUInt32LE(at) + random.below(17) - 8) >>> 0, at);
    return frame;
  }),
  ofOne((frame, random) =>
    withPayload(frame, random.bytes(random.pick([0, 1, 4, 8, 24, 48, random.below(300)]))),
  ),
  ofOne((frame, random, other) => {
    const payload = frame.subarray(HEADER_BYTES, frame.length - TRAILER_BYTES);
    return withPayload(
      frame,
      random.pick(byteChanges)(Buffer.from(payload), other, random).subarray(0, MAX_PAYLOAD_BYTES),
    );
  }),
  // cut in the middle, as by a port that was closed
  ofOne((frame, random) => frame.subarray(0, random.below(frame.length))),
  // a frame of another input
  (bytes, other, random) => {
    const frames = findFrames(other);
    if (frames.length === 0) return bytes;
    const { at, end } = random.pick(frames);
    return Buffer.concat([bytes, other.subarray(at, end)]);
  },
];
