/**
 * One record of a capture, as the reader hands it out: the same object again and again, and its bytes are the reader's.
 * Millions pass in a second, so nothing is made that nobody has asked for.
 */
import { HEADER_BYTES, PSEUDO_HEADER_BYTES, RecordFlag, RecordKind } from '@coracle/wire';

export interface CaptureInterface {
  /** The sandbox's id. */
  readonly sandbox: string;
  /** Counted over all sections of the file, from 0. */
  readonly index: number;
  /** Nanoseconds in one unit of its times. */
  readonly unitNs: number;
  /** False: another link type, whose packets are skipped. */
  readonly ours: boolean;
}

const TWO_TO_32 = 0x1_0000_0000;
const EVENT_AT = PSEUDO_HEADER_BYTES;
const FRAME_AT = PSEUDO_HEADER_BYTES;

export class RecordView {
  /** Counted from 1 over the file: what people call "frame 12". */
  number = 0;
  /** Of its block in the file. */
  fileOffset = 0;
  /** The file's first record's time, nanoseconds since 1970. */
  startNs = 0n;
  /** Since the file's first record; exact for 104 days. */
  timeNs = 0;
  /** Which run of the capturing process, from 1. */
  section = 0;
  interface!: CaptureInterface;
  kind = 0;
  direction = 0;
  flags = 0;
  connection = 0;
  /** Of a frame: its header's fields. 0 in an event. */
  type = 0;
  frameFlags = 0;
  id = 0;
  generation = 0;
  offset = 0;
  /** Of the payload as it was. */
  length = 0;
  /** Where the record's data lies. */
  bytes!: Buffer;
  at = 0;
  dataBytes = 0;

  /** @returns false for data that is too short for what it says to be */
  read(bytes: Buffer, at: number, dataBytes: number): boolean {
    this.bytes = bytes;
    this.at = at;
    this.dataBytes = dataBytes;
    this.kind = bytes[at + 1] as number;
    this.direction = bytes[at + 2] as number;
    this.flags = bytes[at + 3] as number;
    this.connection = bytes.readUInt32LE(at + 4);
    if (this.kind !== RecordKind.frame) {
      this.type = this.frameFlags = this.id = this.generation = this.offset = this.length = 0;
      return this.kind === RecordKind.event && dataBytes >= EVENT_AT + 8;
    }
    if (dataBytes < FRAME_AT + HEADER_BYTES) return false;
    const header = at + FRAME_AT;
    this.length = bytes.readUInt32LE(header);
    this.type = bytes[header + 4] as number;
    this.frameFlags = bytes[header + 5] as number;
    this.id = bytes.readUInt32LE(header + 8);
    this.generation = bytes.readUInt32LE(header + 12);
    this.offset = bytes.readUInt32LE(header + 20) * TWO_TO_32 + bytes.readUInt32LE(header + 16);
    return true;
  }

  get sandbox(): string {
    return this.interface.sandbox;
  }
  get isEvent(): boolean {
    return this.kind === RecordKind.event;
  }
  get redacted(): boolean {
    return (this.flags & RecordFlag.REDACTED) !== 0;
  }
  get unowned(): boolean {
    return (this.flags & RecordFlag.UNOWNED) !== 0;
  }
  get own(): boolean {
    return (this.flags & RecordFlag.OWN) !== 0;
  }

  /** What was kept of it; a view that holds until the next record. */
  get payload(): Buffer {
    return this.bytes.subarray(this.at + FRAME_AT + HEADER_BYTES, this.at + this.dataBytes);
  }
  /** Undefined when there is none. */
  get digest(): string | undefined {
    const from = this.at + 8;
    if (this.bytes.readUInt32LE(from) === 0 && this.bytes.readUInt32LE(from + 4) === 0) return undefined;
    return this.bytes.toString('hex', from, from + 8);
  }

  get event(): number {
    return this.bytes.readUInt16LE(this.at + EVENT_AT);
  }
  get eventCode(): number {
    return this.bytes.readUInt16LE(this.at + EVENT_AT + 2);
  }
  get eventValue(): number {
    return this.bytes.readUInt32LE(this.at + EVENT_AT + 4);
  }
  get eventText(): string {
    return this.bytes.toString('utf8', this.at + EVENT_AT + 8, this.at + this.dataBytes);
  }
}
