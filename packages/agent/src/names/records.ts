/**
 * Records of a DNS message each, between the agent and who asks the host's name server (packages/shim/names/record.h,
 * docs/protocol.md): u16 length of the message, u16 number, u8 kind, u8 0, the message; in network order, as DNS.
 */

/** How a query came, and has to be asked. */
export const Kind = { udp: 0, tcp: 1 } as const;
export type Kind = (typeof Kind)[keyof typeof Kind];

export interface NameRecord {
  /** Chosen by who asks; the answer has that of its query. */
  readonly number: number;
  readonly kind: Kind;
  readonly message: Buffer;
}

const HEADER_BYTES = 6;
/** The header of a DNS message (RFC 1035, 4.1.1). Its first 16 bits are the asker's own. */
export const MESSAGE_MIN_BYTES = 12;

export function encodeRecord({ number, kind, message }: NameRecord): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt16BE(message.length, 0);
  header.writeUInt16BE(number, 2);
  header.writeUInt8(kind, 4);
  return Buffer.concat([header, message]);
}

/** Bytes in, however they are cut; records out. It never holds more than one that is not whole. */
export class RecordDecoder {
  #parts: Buffer[] = [];
  #length = 0;
  /** Before there are as many bytes nothing can be said: they are joined once. */
  #wanted = HEADER_BYTES;

  /** The messages are copies. @throws RangeError for what is no record */
  *push(bytes: Buffer): Generator<NameRecord> {
    this.#parts.push(bytes);
    this.#length += bytes.length;
    if (this.#length < this.#wanted) return;
    let all = Buffer.concat(this.#parts);
    this.#wanted = HEADER_BYTES;
    while (all.length >= HEADER_BYTES) {
      const length = all.readUInt16BE(0);
      const kind = all.readUInt8(4);
      if (length < MESSAGE_MIN_BYTES || (kind !== Kind.udp && kind !== Kind.tcp) || all.readUInt8(5) !== 0)
        throw new RangeError(`no record: ${all.subarray(0, HEADER_BYTES).toString('hex')}`);
      this.#wanted = HEADER_BYTES + length;
      if (all.length < this.#wanted) break;
      yield { number: all.readUInt16BE(2), kind, message: all.subarray(HEADER_BYTES, this.#wanted) };
      all = all.subarray(this.#wanted);
      this.#wanted = HEADER_BYTES;
    }
    this.#parts = all.length === 0 ? [] : [Buffer.from(all)];
    this.#length = all.length;
  }
}
