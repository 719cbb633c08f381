/**
 * A slow codec, written from docs/protocol.md byte by byte and sharing nothing with the real one, which is
 * checked against it. It sees the whole input at once, so it has no state that could go wrong.
 */

export interface ReferenceFrame {
  type: number;
  flags: number;
  id: number;
  generation: number;
  offset: bigint;
  payload: number[];
}

export type ReferenceEvent =
  | { kind: 'preamble'; bytes: number[] }
  | { kind: 'frame'; frame: ReferenceFrame }
  | { kind: 'error' };

const MAGIC = [0xc0, 0xac, 0x1e, 0xff, ...[...'CORACLE-LINK'].map((letter) => letter.charCodeAt(0))];
const TRAILER = [0xc5, 0xac, 0xe1, 0x7e];

/** type → [least payload, most payload, flags that may be set], the table of section 2. */
const TYPES: Record<number, [number, number, number]> = {
  1: [1, 32740, 0], // DATA
  2: [0, 0, 0], // EOF
  3: [8, 8, 0], // WINDOW
  4: [0, 0, 0], // STOP
  5: [48, 48, 0], // ATTACH
  6: [48, 48, 0], // ATTACHED
  7: [4, 4100, 0], // REFUSED
  8: [24, 4120, 0], // EXIT
  9: [0, 0, 0], // DETACHED
  16: [0, 32740, 1], // REQUEST
  17: [0, 32740, 1], // RESPONSE
  18: [0, 0, 0], // CANCEL
  32: [1, 128, 0], // BIND
  33: [0, 0, 0], // BOUND
  34: [4, 4100, 0], // GOAWAY
};

export const referenceTypes = TYPES;

function littleEndian(value: bigint, size: number): number[] {
  const bytes: number[] = [];
  for (let i = 0; i < size; i++) bytes.push(Number((value >> BigInt(8 * i)) & 0xffn));
  return bytes;
}

function number(bytes: ArrayLike<number>, at: number, size: number): bigint {
  let value = 0n;
  for (let i = size - 1; i >= 0; i--) value = value * 256n + BigInt(bytes[at + i] ?? 0);
  return value;
}

export function referenceEncode(frame: ReferenceFrame): number[] {
  return [
    ...littleEndian(BigInt(frame.payload.length), 4),
    frame.type,
    frame.flags,
    0,
    0,
    ...littleEndian(BigInt(frame.id), 4),
    ...littleEndian(BigInt(frame.generation), 4),
    ...littleEndian(frame.offset, 8),
    ...frame.payload,
    ...TRAILER,
  ];
}

function startsAt(bytes: ArrayLike<number>, at: number, pattern: number[]): boolean {
  return pattern.every((byte, i) => bytes[at + i] === byte);
}

/** Everything that these bytes mean to an answerer (`resynchronise`) or an opener, up to the first error. */
export function referenceDecode(
  bytes: ArrayLike<number>,
  resynchronise: boolean,
  accept: (preamble: number[]) => boolean,
): ReferenceEvent[] {
  const events: ReferenceEvent[] = [];
  const error = (): ReferenceEvent[] => [...events, { kind: 'error' }];
  let at = 0;
  let scanning = true;
  for (;;) {
    if (scanning) {
      while (at < bytes.length && !startsAt(bytes, at, MAGIC)) at++;
      if (at + 64 > bytes.length) return events;
      const preamble = Array.from({ length: 64 }, (_, i) => bytes[at + i] as number);
      events.push({ kind: 'preamble', bytes: preamble });
      if (accept(preamble)) {
        at += 64;
        scanning = false;
      } else at++;
      continue;
    }
    if (at + 24 > bytes.length) return events;
    const length = number(bytes, at, 4);
    const type = bytes[at + 4] as number;
    const flags = bytes[at + 5] as number;
    if (startsAt(bytes, at, MAGIC.slice(0, 4)) || startsAt(bytes, at + 4, [0, 0, 0, 0])) {
      if (!resynchronise) return error();
      scanning = true;
      continue;
    }
    const rule = TYPES[type];
    if (rule === undefined) return error();
    if (length < BigInt(rule[0]) || length > BigInt(rule[1])) return error();
    if ((flags & ~rule[2]) !== 0) return error();
    if (bytes[at + 6] !== 0 || bytes[at + 7] !== 0) return error();
    const offset = number(bytes, at + 16, 8);
    if (offset > 2n ** 53n - 1n) return error();
    if (offset !== 0n && ![1, 2, 3].includes(type)) return error();
    if (type === 1 && offset + length > 2n ** 53n - 1n) return error();
    const end = at + 24 + Number(length);
    if (end + 4 > bytes.length) return events;
    if (!startsAt(bytes, end, TRAILER)) {
      if (!resynchronise) return error();
      scanning = true;
      continue;
    }
    events.push({
      kind: 'frame',
      frame: {
        type,
        flags,
        id: Number(number(bytes, at + 8, 4)),
        generation: Number(number(bytes, at + 12, 4)),
        offset,
        payload: Array.from({ length: Number(length) }, (_, i) => bytes[at + 24 + i] as number),
      },
    });
    at = end + 4;
  }
}
