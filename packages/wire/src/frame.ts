/**
 * Frames: a header of 24 bytes, a payload, a trailer of 4 (docs/protocol.md, section 2). Integers are
 * little-endian. The trailer holds no zero byte, so a frame that was cut and then filled up with zeros,
 * as on a re-opened virtio-serial port, is recognised as torn.
 */
import { RpcError, violation } from './errors.ts';
import { HEADER_BYTES, MAX_PAYLOAD_BYTES, TRAILER_BYTES } from './limits.ts';

export const FrameType = {
  DATA: 0x01,
  EOF: 0x02,
  WINDOW: 0x03,
  STOP: 0x04,
  ATTACH: 0x05,
  ATTACHED: 0x06,
  REFUSED: 0x07,
  EXIT: 0x08,
  DETACHED: 0x09,
  REQUEST: 0x10,
  RESPONSE: 0x11,
  CANCEL: 0x12,
  BIND: 0x20,
  BOUND: 0x21,
  GOAWAY: 0x22,
} as const;
export type FrameType = (typeof FrameType)[keyof typeof FrameType];

const typeNames = new Map<number, string>(Object.entries(FrameType).map(([name, type]) => [type, name]));

export function frameTypeName(type: number): string {
  return typeNames.get(type) ?? `0x${type.toString(16)}`;
}

/** Flag of REQUEST and RESPONSE: the message goes on in the next frame of this type and id. */
export const MORE = 0x01;

export const TRAILER = 0x7ee1_acc5;

export interface Frame {
  readonly type: FrameType;
  readonly flags: number;
  /** Stream, process (4p) or request id, by type; 0 where there is none. */
  readonly id: number;
  /** The attachment the frame belongs to; 0 outside of one. */
  readonly generation: number;
  readonly offset: number;
  /** A view into the bytes that were decoded; see Decoder for how long it holds. */
  readonly payload: Buffer;
  /** The whole frame as it came, header and trailer included: what a switch forwards. Holds like `payload`. */
  readonly encoded: Buffer;
}

/** Payload sizes that a type allows: [least, most]. The table is also the list of known types. */
export const payloadRange: Readonly<Record<number, readonly [number, number]>> = {
  [FrameType.DATA]: [1, MAX_PAYLOAD_BYTES],
  [FrameType.EOF]: [0, 0],
  [FrameType.WINDOW]: [8, 8],
  [FrameType.STOP]: [0, 0],
  [FrameType.ATTACH]: [48, 48],
  [FrameType.ATTACHED]: [48, 48],
  [FrameType.REFUSED]: [4, 4 + 4096],
  [FrameType.EXIT]: [24, 24 + 4096],
  [FrameType.DETACHED]: [0, 0],
  [FrameType.REQUEST]: [0, MAX_PAYLOAD_BYTES],
  [FrameType.RESPONSE]: [0, MAX_PAYLOAD_BYTES],
  [FrameType.CANCEL]: [0, 0],
  [FrameType.BIND]: [1, 128],
  [FrameType.BOUND]: [0, 0],
  [FrameType.GOAWAY]: [4, 4 + 4096],
};

const NO_RANGE = [0, 0] as const;

function describeLength(type: number, length: number, range: readonly [number, number]): string {
  return `${frameTypeName(type)} with a payload of ${length} bytes, allowed are ${range[0]} to ${range[1]}`;
}

const EMPTY = Buffer.alloc(0);

export interface FrameFields {
  readonly type: FrameType;
  readonly id?: number;
  readonly flags?: number;
  readonly generation?: number;
  readonly offset?: number;
  readonly payload?: Uint8Array;
}

/**
 * A whole frame as bytes that the caller owns.
 * @throws RpcError internal for a payload that the type does not allow
 */
export function encodeFrame(fields: FrameFields): Buffer {
  const payload = fields.payload ?? EMPTY;
  const range = payloadRange[fields.type] ?? NO_RANGE;
  if (payload.length < range[0] || payload.length > range[1]) {
    throw new RpcError('internal', `cannot send ${describeLength(fields.type, payload.length, range)}`);
  }
  const bytes = allocateFrame(payload.length);
  bytes.set(payload, HEADER_BYTES);
  writeHeader(bytes, payload.length, fields);
  return bytes;
}

/** Memory for a frame with a payload of `length` bytes, which the caller fills in from HEADER_BYTES on. */
export function allocateFrame(length: number): Buffer {
  return Buffer.allocUnsafe(HEADER_BYTES + length + TRAILER_BYTES);
}

/** Writes header and trailer around a payload that is already in place. */
export function writeHeader(bytes: Buffer, length: number, fields: FrameFields): void {
  const offset = fields.offset ?? 0;
  bytes.writeUInt32LE(length, 0);
  // type, flags and the two reserved zero bytes as one word
  bytes.writeUInt32LE(fields.type | ((fields.flags ?? 0) << 8), 4);
  bytes.writeUInt32LE(fields.id ?? 0, 8);
  bytes.writeUInt32LE(fields.generation ?? 0, 12);
  writeOffset(bytes, offset, 16);
  bytes.writeUInt32LE(TRAILER, HEADER_BYTES + length);
}

export interface Header {
  readonly length: number;
  readonly type: FrameType;
  readonly flags: number;
  readonly id: number;
  readonly generation: number;
  readonly offset: number;
}

/**
 * Reads and judges a header, before memory is taken for the payload.
 * @throws RpcError invalid_argument naming the field that breaks the rules
 */
export function readHeader(bytes: Buffer, at: number): Header {
  const length = bytes.readUInt32LE(at);
  const word = bytes.readUInt32LE(at + 4);
  const type = word & 0xff;
  const flags = (word >>> 8) & 0xff;
  const range = payloadRange[type];
  if (range === undefined) throw violation(`unknown frame type ${frameTypeName(type)}`);
  if (word >>> 16 !== 0) throw violation(`reserved bits set in ${frameTypeName(type)}`);
  if (length < range[0] || length > range[1]) {
    throw violation(describeLength(type, length, range));
  }
  if (flags !== 0 && !(flags === MORE && (type === FrameType.REQUEST || type === FrameType.RESPONSE))) {
    throw violation(`unknown flags 0x${flags.toString(16)} in ${frameTypeName(type)}`);
  }
  const offset = readOffset(bytes, at + 16);
  if (offset > 0) {
    // DATA, EOF and WINDOW: the first three types.
    if (type > FrameType.WINDOW) throw violation(`${frameTypeName(type)} with offset ${offset}`);
    if (type === FrameType.DATA && offset > Number.MAX_SAFE_INTEGER - length) {
      throw violation(`DATA of ${length} bytes at ${offset} ends above 2^53 - 1`);
    }
  }
  return {
    length,
    type: type as FrameType,
    flags,
    id: bytes.readUInt32LE(at + 8),
    generation: bytes.readUInt32LE(at + 12),
    offset,
  };
}

/** @throws RpcError invalid_argument for an offset above 2^53 - 1 */
export function readOffset(bytes: Buffer, at: number): number {
  const high = bytes.readUInt32LE(at + 4);
  if (high > 0x1f_ffff) throw violation('an offset above 2^53 - 1');
  return high * 0x1_0000_0000 + bytes.readUInt32LE(at);
}

export function writeOffset(bytes: Buffer, value: number, at: number): void {
  bytes.writeUInt32LE(value >>> 0, at);
  bytes.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
}
