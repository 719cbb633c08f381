/**
 * Reads a capture: bytes in, records out (docs/capture.md). A plain object without files or timers. Whatever the bytes
 * are it never throws and holds no more than the block it waits for: what can't be read is reported with its offset,
 * and reading goes on at the next block that makes sense.
 */
import {
  BlockType,
  BYTE_ORDER_MAGIC,
  LINKTYPE_USER0,
  Option,
  PACKET_HEAD_BYTES,
  PACKET_TAIL_BYTES,
  PSEUDO_HEADER_BYTES,
  RECORD_VERSION,
} from '@coracle/wire';
import { type CaptureInterface, RecordView } from './record-view.ts';

/** A part of the file that could not be read. */
export interface Damage {
  /** In the file. */
  readonly offset: number;
  /** How much was skipped; 0 when nothing had to be. */
  readonly bytes: number;
  readonly what: string;
}

/** Records that the capturing side dropped, counted from the section's start. */
export interface Counters {
  readonly interface: CaptureInterface;
  readonly received: number;
  readonly dropped: number;
  /** How many of them since the last time. */
  readonly newlyDropped: number;
  /** Since the file's first record; 0 before it. */
  readonly timeNs: number;
}

export interface ReaderEvents {
  record(record: RecordView): void;
  /** `application`: who captured. */
  section?(application: string): void;
  counters?(counters: Counters): void;
  damage?(damage: Damage): void;
}

/** Ours are below 64 KiB; other programs add comments and the like. */
export const MAX_BLOCK_BYTES = 1024 * 1024;
const CUT = 'the file ends within a block: it was cut, or is still being written';
const LEAST_BLOCK_BYTES = 12;
const TWO_TO_32 = 0x1_0000_0000;
const SWAPPED_MAGIC = 0x4d3c2b1a;

/** By type: whether what stands there may be such a block, for finding one again. Small numbers are everywhere. */
const plausible: Readonly<Record<number, (bytes: Buffer, at: number, length: number) => boolean>> = {
  [BlockType.section]: (bytes, at, length) => length >= 28 && bytes.readUInt32LE(at + 8) === BYTE_ORDER_MAGIC,
  // Link type, two reserved bytes, snap length.
  [BlockType.interface]: (bytes, at, length) => length >= 20 && bytes.readUInt32LE(at + 8) === LINKTYPE_USER0,
  [BlockType.packet]: (bytes, at, length) => {
    const rest = length - PACKET_HEAD_BYTES - PACKET_TAIL_BYTES;
    return (
      rest >= PSEUDO_HEADER_BYTES && bytes.readUInt32LE(at + 20) <= rest && (bytes[at + 29] as number) <= 2
    );
  },
  [BlockType.statistics]: (bytes, at, length) =>
    length >= 24 && bytes.readUInt16LE(at + 20) === Option.isb_ifrecv && bytes.readUInt16LE(at + 22) === 8,
};

interface Lost {
  readonly offset: number;
  readonly what: string;
  /** What it is if nothing that makes sense follows. */
  readonly atEnd: string;
}

export class CaptureReader {
  readonly #events: ReaderEvents;
  readonly #record = new RecordView();
  #interfaces: CaptureInterface[] = [];
  #dropped: number[] = [];
  #interfaceCount = 0;
  #section = 0;
  /** Of the byte at the start of what `push` is given next. */
  #fileOffset = 0;
  /** Where the file ceased to make sense; undefined while it does. */
  #lost: Lost | undefined;
  /** Blocks of a section in another byte order are not read. */
  #foreign = false;
  #timeHigh = 0;
  #timeLow = 0;
  #hasTime = false;
  #endNs = 0;
  /** Records of a version that is not known. */
  otherVersions = 0;
  /** Packets of other link types. */
  otherPackets = 0;

  constructor(events: ReaderEvents) {
    this.#events = events;
  }

  get records(): number {
    return this.#record.number;
  }
  /** The first record's time, nanoseconds since 1970. */
  get startNs(): bigint {
    return this.#record.startNs;
  }
  /** How long after it the capture has lasted, as far as it tells. */
  get endNs(): number {
    return this.#endNs;
  }
  get sections(): number {
    return this.#section;
  }

  /**
   * Takes as many whole blocks as there are.
   * @param last nothing comes after these bytes
   * @returns how many bytes were taken; the rest is to come again, with more behind it
   */
  push(bytes: Buffer, last = false): number {
    let at = 0;
    for (;;) {
      if (this.#lost !== undefined) {
        const found = this.#resynchronise(bytes, at, last);
        at = found.at;
        if (!found.found) break;
      }
      const left = bytes.length - at;
      if (left < LEAST_BLOCK_BYTES) break;
      const length = bytes.readUInt32LE(at + 4);
      const type = bytes.readUInt32LE(at);
      if (length < LEAST_BLOCK_BYTES || length % 4 !== 0 || length > MAX_BLOCK_BYTES) {
        this.#lose(at, `a block that says it is ${length} bytes long`);
        continue;
      }
      if (this.#section === 0 && type !== BlockType.section) {
        this.#lose(at, 'no section header at the beginning');
        continue;
      }
      if (length > left) {
        if (!last) break;
        // Unless a block that makes sense follows, it was cut there.
        this.#lose(at, `a block of ${length} bytes, which goes beyond the file's end`, CUT);
        continue;
      }
      if (bytes.readUInt32LE(at + length - 4) !== length) {
        this.#lose(at, 'a block whose two lengths differ');
        continue;
      }
      const problem = this.#block(type, bytes, at, length);
      if (problem !== undefined)
        this.#events.damage?.({ offset: this.#fileOffset + at, bytes: length, what: problem });
      at += length;
    }
    if (last && at < bytes.length) {
      this.#events.damage?.({ offset: this.#fileOffset + at, bytes: bytes.length - at, what: CUT });
      at = bytes.length;
    }
    this.#fileOffset += at;
    return at;
  }

  #lose(at: number, what: string, atEnd = what): void {
    this.#lost = { offset: this.#fileOffset + at, what, atEnd };
  }

  /** Looks for a block of a known type whose two lengths agree. */
  #resynchronise(
    bytes: Buffer,
    from: number,
    last: boolean,
  ): { readonly at: number; readonly found: boolean } {
    const lost = this.#lost as Lost;
    // Not where it was lost: that is no block.
    let at = Math.max(from, lost.offset + 1 - this.#fileOffset);
    for (; at + LEAST_BLOCK_BYTES <= bytes.length; at++) {
      const fits = plausible[bytes.readUInt32LE(at)];
      if (fits === undefined) continue;
      const length = bytes.readUInt32LE(at + 4);
      if (length < LEAST_BLOCK_BYTES || length % 4 !== 0 || length > MAX_BLOCK_BYTES) continue;
      if (at + length > bytes.length) {
        // It may become whole with what comes; at the end it can't.
        if (last) continue;
        return { at, found: false };
      }
      if (bytes.readUInt32LE(at + length - 4) !== length || !fits(bytes, at, length)) continue;
      this.#found(at, lost);
      return { at, found: true };
    }
    if (!last) return { at: Math.min(at, bytes.length), found: false };
    this.#found(bytes.length, { offset: lost.offset, what: lost.atEnd, atEnd: lost.atEnd });
    return { at: bytes.length, found: false };
  }

  #found(at: number, { offset, what }: Lost): void {
    this.#lost = undefined;
    this.#events.damage?.({ offset, bytes: this.#fileOffset + at - offset, what });
  }

  /** @returns what is wrong with it */
  #block(type: number, bytes: Buffer, at: number, length: number): string | undefined {
    if (type === BlockType.packet) return this.#foreign ? undefined : this.#packet(bytes, at, length);
    if (type === BlockType.section) return this.#sectionHeader(bytes, at, length);
    if (this.#foreign) return undefined;
    if (type === BlockType.interface) return this.#interface(bytes, at, length);
    if (type === BlockType.statistics) return this.#statistics(bytes, at, length);
    return undefined;
  }

  #sectionHeader(bytes: Buffer, at: number, length: number): string | undefined {
    if (length < 28) return 'a section header that is too short';
    const magic = bytes.readUInt32LE(at + 8);
    this.#foreign = magic !== BYTE_ORDER_MAGIC;
    this.#section++;
    this.#interfaces = [];
    this.#dropped = [];
    if (this.#foreign)
      return magic === SWAPPED_MAGIC
        ? 'a section in big-endian order, which is not read: save it anew on a little-endian machine'
        : 'a section header without its magic number';
    const options = readOptions(bytes, at + 24, at + length - 4);
    this.#events.section?.(options.get(Option.shb_userappl)?.toString('utf8') ?? '');
    return undefined;
  }

  #interface(bytes: Buffer, at: number, length: number): string | undefined {
    if (length < 20) return 'an interface description that is too short';
    const options = readOptions(bytes, at + 16, at + length - 4);
    const resolution = options.get(Option.if_tsresol)?.[0] ?? 6;
    this.#interfaces.push({
      sandbox: options.get(Option.if_name)?.toString('utf8') ?? `interface ${this.#interfaces.length}`,
      index: this.#interfaceCount++,
      unitNs: resolution <= 9 ? 10 ** (9 - resolution) : 1,
      ours: bytes.readUInt16LE(at + 8) === LINKTYPE_USER0,
    });
    this.#dropped.push(0);
    return undefined;
  }

  #statistics(bytes: Buffer, at: number, length: number): string | undefined {
    if (length < 24) return 'statistics that are too short';
    const id = bytes.readUInt32LE(at + 8);
    const of = this.#interfaces[id];
    if (of === undefined) return `statistics of interface ${id}, which was not described`;
    const options = readOptions(bytes, at + 20, at + length - 4);
    const count = (code: number): number => {
      const value = options.get(code);
      return value?.length === 8 ? Number(value.readBigUInt64LE(0)) : 0;
    };
    const dropped = count(Option.isb_ifdrop);
    const newlyDropped = Math.max(0, dropped - (this.#dropped[id] ?? 0));
    this.#dropped[id] = dropped;
    const timeNs = this.#hasTime ? this.#since(bytes, at + 12, of) : 0;
    this.#endNs = Math.max(this.#endNs, timeNs);
    this.#events.counters?.({
      interface: of,
      received: count(Option.isb_ifrecv),
      dropped,
      newlyDropped,
      timeNs,
    });
    return undefined;
  }

  #packet(bytes: Buffer, at: number, length: number): string | undefined {
    if (length < PACKET_HEAD_BYTES + PACKET_TAIL_BYTES) return 'a packet that is too short';
    const dataBytes = bytes.readUInt32LE(at + 20);
    if (dataBytes > length - PACKET_HEAD_BYTES - PACKET_TAIL_BYTES)
      return `a packet that says it holds ${dataBytes} bytes`;
    const id = bytes.readUInt32LE(at + 8);
    const of = this.#interfaces[id];
    if (of === undefined) return `a packet of interface ${id}, which was not described`;
    if (!of.ours) {
      this.otherPackets++;
      return undefined;
    }
    const data = at + PACKET_HEAD_BYTES;
    if (dataBytes < PSEUDO_HEADER_BYTES) return 'a record without its pseudo header';
    if (bytes[data] !== RECORD_VERSION) {
      this.otherVersions++;
      return undefined;
    }
    const record = this.#record;
    if (!record.read(bytes, data, dataBytes)) return 'a record that is too short';
    record.number++;
    record.fileOffset = this.#fileOffset + at;
    record.section = this.#section;
    record.interface = of;
    if (!this.#hasTime) {
      this.#hasTime = true;
      this.#timeHigh = bytes.readUInt32LE(at + 12);
      this.#timeLow = bytes.readUInt32LE(at + 16);
      record.startNs = ((BigInt(this.#timeHigh) << 32n) | BigInt(this.#timeLow)) * BigInt(of.unitNs);
    }
    record.timeNs = this.#since(bytes, at + 12, of);
    if (record.timeNs > this.#endNs) this.#endNs = record.timeNs;
    this.#events.record(record);
    return undefined;
  }

  /** A time, high word first, as nanoseconds after the first record. */
  #since(bytes: Buffer, at: number, { unitNs }: CaptureInterface): number {
    const high = bytes.readUInt32LE(at) - this.#timeHigh;
    return (high * TWO_TO_32 + (bytes.readUInt32LE(at + 4) - this.#timeLow)) * unitNs;
  }
}

/** Options by code, the first of each; those that do not fit are left out. */
function readOptions(bytes: Buffer, from: number, end: number): Map<number, Buffer> {
  const options = new Map<number, Buffer>();
  for (let at = from; at + 4 <= end; ) {
    const code = bytes.readUInt16LE(at);
    const length = bytes.readUInt16LE(at + 2);
    if (code === Option.end || at + 4 + length > end) break;
    if (!options.has(code)) options.set(code, bytes.subarray(at + 4, at + 4 + length));
    at += 4 + ((length + 3) & ~3);
  }
  return options;
}
