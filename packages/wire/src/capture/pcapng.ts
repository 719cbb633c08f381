/** The blocks of pcapng (IETF draft-ietf-opsawg-pcapng) that a capture is made of, little-endian. */

export const BlockType = {
  section: 0x0a0d0d0a,
  interface: 1,
  statistics: 5,
  packet: 6,
} as const;

export const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** Reserved for private use; what a Wireshark dissector is registered for as "USER 0". */
export const LINKTYPE_USER0 = 147;
/** Enhanced Packet Block: what stands before the packet's data, and after it and its padding. */
export const PACKET_HEAD_BYTES = 28;
export const PACKET_TAIL_BYTES = 4;

export const Option = {
  end: 0,
  comment: 1,
  shb_userappl: 4,
  if_name: 2,
  if_description: 3,
  if_tsresol: 9,
  isb_ifrecv: 4,
  isb_ifdrop: 5,
} as const;

/** 10 to the power of minus nine seconds. */
const NANOSECONDS = 9;

export function sectionBlock(application: string): Buffer {
  const head = Buffer.alloc(16);
  head.writeUInt32LE(BYTE_ORDER_MAGIC, 0);
  head.writeUInt16LE(1, 4);
  // The length of a section is not known while it is written: -1.
  head.fill(0xff, 8, 16);
  return block(BlockType.section, [head, text(Option.shb_userappl, application)]);
}

export function interfaceBlock(name: string, description: string): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt16LE(LINKTYPE_USER0, 0);
  return block(BlockType.interface, [
    head,
    text(Option.if_name, name),
    text(Option.if_description, description),
    option(Option.if_tsresol, Buffer.from([NANOSECONDS])),
  ]);
}

/** Counters of an interface since the section's start. */
export function statisticsBlock(
  interfaceId: number,
  time: { readonly high: number; readonly low: number },
  counters: { readonly received: number; readonly dropped: number },
): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt32LE(interfaceId, 0);
  head.writeUInt32LE(time.high, 4);
  head.writeUInt32LE(time.low, 8);
  return block(BlockType.statistics, [
    head,
    option(Option.isb_ifrecv, u64(counters.received)),
    option(Option.isb_ifdrop, u64(counters.dropped)),
  ]);
}

/** Length of a packet block with `dataBytes` of data. */
export function packetBlockBytes(dataBytes: number): number {
  return PACKET_HEAD_BYTES + pad4(dataBytes) + PACKET_TAIL_BYTES;
}

/** Writes all of a packet block but its data, which is to stand at `at + PACKET_HEAD_BYTES`. */
export function writePacketBlock(
  bytes: Buffer,
  at: number,
  packet: {
    readonly interfaceId: number;
    readonly timeHigh: number;
    readonly timeLow: number;
    readonly capturedBytes: number;
    readonly originalBytes: number;
  },
): void {
  const total = packetBlockBytes(packet.capturedBytes);
  bytes.writeUInt32LE(BlockType.packet, at);
  bytes.writeUInt32LE(total, at + 4);
  bytes.writeUInt32LE(packet.interfaceId, at + 8);
  bytes.writeUInt32LE(packet.timeHigh, at + 12);
  bytes.writeUInt32LE(packet.timeLow, at + 16);
  bytes.writeUInt32LE(packet.capturedBytes, at + 20);
  bytes.writeUInt32LE(packet.originalBytes, at + 24);
  bytes.fill(0, at + PACKET_HEAD_BYTES + packet.capturedBytes, at + total - 4);
  bytes.writeUInt32LE(total, at + total - 4);
}

function block(type: number, parts: readonly Buffer[]): Buffer {
  const body = Buffer.concat([...parts, Buffer.alloc(4)]);
  const bytes = Buffer.alloc(12 + body.length);
  bytes.writeUInt32LE(type, 0);
  bytes.writeUInt32LE(bytes.length, 4);
  body.copy(bytes, 8);
  bytes.writeUInt32LE(bytes.length, bytes.length - 4);
  return bytes;
}

function option(code: number, value: Buffer): Buffer {
  const bytes = Buffer.alloc(4 + pad4(value.length));
  bytes.writeUInt16LE(code, 0);
  bytes.writeUInt16LE(value.length, 2);
  value.copy(bytes, 4);
  return bytes;
}

function text(code: number, value: string): Buffer {
  return option(code, Buffer.from(value, 'utf8'));
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value), 0);
  return bytes;
}

function pad4(length: number): number {
  return (length + 3) & ~3;
}
