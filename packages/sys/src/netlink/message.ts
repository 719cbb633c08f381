/**
 * Netlink messages as bytes (netlink(7), linux/netlink.h): a header, a fixed structure of the message's kind, and
 * attributes. All numbers are in the machine's order, which is little-endian where this runs; everything starts at a
 * multiple of four.
 */

/** struct nlmsghdr { u32 length; u16 type; u16 flags; u32 sequence; u32 port } */
export const HEADER_BYTES = 16;
/** struct nlattr { u16 length; u16 type } */
const ATTRIBUTE_HEADER_BYTES = 4;
/** NLA_F_NESTED and NLA_F_NET_BYTEORDER */
const ATTRIBUTE_FLAGS = 0xc000;

export const Flag = {
  request: 0x1,
  ack: 0x4,
  /** In an answer: what was dumped changed meanwhile. */
  interrupted: 0x10,
  replace: 0x100,
  exclusive: 0x200,
  create: 0x400,
  dump: 0x300,
} as const;

export const Kind = { error: 2, done: 3 } as const;

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** What follows the header. */
  readonly body: Buffer;
}

const align = (bytes: number): number => (bytes + 3) & ~3;

export function encodeMessage(type: number, flags: number, sequence: number, body: Buffer): Buffer {
  const message = Buffer.alloc(HEADER_BYTES + body.length);
  message.writeUInt32LE(message.length, 0);
  message.writeUInt16LE(type, 4);
  message.writeUInt16LE(flags, 6);
  message.writeUInt32LE(sequence, 8);
  body.copy(message, HEADER_BYTES);
  return message;
}

/** The messages of one datagram. One that claims to be longer than what is there ends the list. */
export function* decodeMessages(bytes: Buffer): Generator<Message> {
  let offset = 0;
  while (offset + HEADER_BYTES <= bytes.length) {
    const length = bytes.readUInt32LE(offset);
    if (length < HEADER_BYTES || offset + length > bytes.length) return;
    yield {
      type: bytes.readUInt16LE(offset + 4),
      flags: bytes.readUInt16LE(offset + 6),
      sequence: bytes.readUInt32LE(offset + 8),
      body: bytes.subarray(offset + HEADER_BYTES, offset + length),
    };
    offset += align(length);
  }
}

/** One attribute; a list of attributes as its value makes it a nested one. */
export function attribute(type: number, value: Buffer | readonly Buffer[]): Buffer {
  const payload = value instanceof Buffer ? value : Buffer.concat(value as Buffer[]);
  const length = ATTRIBUTE_HEADER_BYTES + payload.length;
  const bytes = Buffer.alloc(align(length));
  bytes.writeUInt16LE(length, 0);
  bytes.writeUInt16LE(type, 2);
  payload.copy(bytes, ATTRIBUTE_HEADER_BYTES);
  return bytes;
}

export function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** With the NUL at its end that the kernel expects of names. */
export const text = (value: string): Buffer => Buffer.from(`${value}\0`);

/** Attributes by their types; of several of one type the last. */
export function attributes(bytes: Buffer, from: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  let offset = from;
  while (offset + ATTRIBUTE_HEADER_BYTES <= bytes.length) {
    const length = bytes.readUInt16LE(offset);
    if (length < ATTRIBUTE_HEADER_BYTES || offset + length > bytes.length) break;
    const type = bytes.readUInt16LE(offset + 2) & ~ATTRIBUTE_FLAGS;
    found.set(type, bytes.subarray(offset + ATTRIBUTE_HEADER_BYTES, offset + length));
    offset += align(length);
  }
  return found;
}

export const readU32 = (value: Buffer | undefined): number | undefined =>
  value !== undefined && value.length >= 4 ? value.readUInt32LE(0) : undefined;

export function readText(value: Buffer | undefined): string | undefined {
  if (value === undefined) return undefined;
  const end = value.indexOf(0);
  return value.toString('utf8', 0, end === -1 ? value.length : end);
}
