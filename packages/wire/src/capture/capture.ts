/**
 * Turns frames into a section of pcapng, for whoever takes the bytes (docs/capture.md). Never waits: when the bytes are
 * not taken fast enough, records are dropped and counted. One interface for each sandbox.
 */

import { FrameType, MORE } from '../frame.ts';
import { HEADER_BYTES, TRAILER_BYTES } from '../limits.ts';
import { TOKEN_BYTES } from '../payloads.ts';
import { DIGEST_BYTES, Digester } from './digest.ts';
import {
  interfaceBlock,
  PACKET_HEAD_BYTES,
  packetBlockBytes,
  sectionBlock,
  statisticsBlock,
  writePacketBlock,
} from './pcapng.ts';
import {
  CaptureEvent,
  type CaptureEventName,
  Direction,
  EVENT_BYTES,
  MAX_EVENT_TEXT_BYTES,
  PSEUDO_HEADER_BYTES,
  RECORD_VERSION,
  RecordFlag,
  RecordKind,
} from './record.ts';
import { type RedactOptions, redactRequest, redactResponse } from './redact.ts';

/** What is kept of payloads. */
export const captureContents = ['headers', 'digests', 'payload'] as const;
export type CaptureContent = (typeof captureContents)[number];

export interface CaptureOptions {
  readonly content: CaptureContent;
  /** Who captures, for the file: "coracle-proxy 0.1.0". */
  readonly application: string;
  /** Where, for the file: "at the proxy". */
  readonly place: string;
  /** Takes bytes of the section, and calls `taken` when it has let go of them. */
  write(bytes: Buffer, taken: () => void): void;
  /** What may wait to be taken; above it records are dropped. */
  readonly maxQueuedBytes: number;
}

/** Several of the largest records, so that a flood leaves in few writes. */
const CHUNK_BYTES = 256 * 1024;
/** Chunks that are kept to be used again. */
const MOST_FREE = 4;
/** Requests whose method is remembered for the answer: as many as a link may have under way, and some. */
const MAX_METHODS = 4096;
const NO_PAYLOAD = Buffer.alloc(0);
const TWO_TO_32 = 0x1_0000_0000;

interface Chunk {
  readonly memory: Buffer;
  /** Writes of parts of it that were not taken yet. */
  writes: number;
  /** No more is put into it. */
  full: boolean;
}

export class Capture {
  readonly content: CaptureContent;
  readonly #options: CaptureOptions;
  readonly #digester = new Digester();
  readonly #clock = new SectionClock();
  readonly #sandboxes = new Map<string, SandboxCapture>();
  readonly #free: Chunk[] = [];
  #chunk: Chunk | undefined;
  #from = 0;
  #filled = 0;
  #queuedBytes = 0;
  #flushQueued = false;
  #dropping = false;
  #closed = false;

  constructor(options: CaptureOptions) {
    this.#options = options;
    this.content = options.content;
    this.#append(sectionBlock(options.application));
  }

  /** Bytes that wait to be taken. */
  get queuedBytes(): number {
    return this.#queuedBytes;
  }

  sandbox(id: string): SandboxCapture {
    let sandbox = this.#sandboxes.get(id);
    if (sandbox === undefined) {
      sandbox = new SandboxCapture(this.#sandboxes.size, this, this.#digester);
      this.#sandboxes.set(id, sandbox);
      this.#append(interfaceBlock(id, `sandbox ${id}, ${this.#options.place}`));
    }
    return sandbox;
  }

  /** Writes the counters: to be called now and then, so that a file tells how long nothing has happened. */
  tick(): void {
    if (!this.#closed && !this.#dropping) this.#writeCounters();
  }

  /** Writes the counters and what is left. */
  close(): void {
    if (this.#closed) return;
    this.#writeCounters();
    this.#flush();
    this.#closed = true;
  }

  /**
   * Room for a packet's data; undefined when it is to be dropped. The caller fills it in before anything else is done.
   */
  packet(interfaceId: number, capturedBytes: number, originalBytes: number): Buffer | undefined {
    const total = packetBlockBytes(capturedBytes);
    if (this.#closed || !this.#hasRoom(total)) return undefined;
    const at = this.#reserve(total);
    const { memory } = this.#chunk as Chunk;
    this.#clock.tick();
    writePacketBlock(memory, at, {
      interfaceId,
      timeHigh: this.#clock.high,
      timeLow: this.#clock.low,
      capturedBytes,
      originalBytes: Math.max(originalBytes, capturedBytes),
    });
    return memory.subarray(at + PACKET_HEAD_BYTES, at + PACKET_HEAD_BYTES + capturedBytes);
  }

  /** Once it drops, it goes on until half has left: a gap now and then can be understood, thousands can't. */
  #hasRoom(bytes: number): boolean {
    if (!this.#dropping && this.#queuedBytes + bytes > this.#options.maxQueuedBytes) this.#dropping = true;
    return !this.#dropping;
  }

  #taken(bytes: number): void {
    this.#queuedBytes -= bytes;
    if (!this.#dropping || this.#closed || this.#queuedBytes > this.#options.maxQueuedBytes / 2) return;
    this.#dropping = false;
    this.#writeCounters();
  }

  #writeCounters(): void {
    this.#clock.tick();
    for (const sandbox of this.#sandboxes.values())
      this.#append(statisticsBlock(sandbox.interfaceId, this.#clock, sandbox));
  }

  #append(block: Buffer): void {
    const at = this.#reserve(block.length);
    block.copy((this.#chunk as Chunk).memory, at);
  }

  #reserve(bytes: number): number {
    if (this.#chunk === undefined || this.#filled + bytes > CHUNK_BYTES) {
      this.#flush();
      if (this.#chunk !== undefined) this.#chunk.full = true;
      this.#chunk = this.#free.pop() ?? {
        memory: Buffer.allocUnsafeSlow(CHUNK_BYTES),
        writes: 0,
        full: false,
      };
      this.#from = this.#filled = 0;
    }
    const at = this.#filled;
    this.#filled += bytes;
    this.#queuedBytes += bytes;
    if (!this.#flushQueued) {
      this.#flushQueued = true;
      // What comes in one turn of the event loop leaves together.
      setImmediate(() => {
        this.#flushQueued = false;
        this.#flush();
      });
    }
    return at;
  }

  #flush(): void {
    const chunk = this.#chunk;
    if (chunk === undefined || this.#from === this.#filled) return;
    const bytes = chunk.memory.subarray(this.#from, this.#filled);
    this.#from = this.#filled;
    chunk.writes++;
    this.#options.write(bytes, () => {
      chunk.writes--;
      if (chunk.writes === 0 && chunk.full && this.#free.length < MOST_FREE) {
        chunk.full = false;
        this.#free.push(chunk);
      }
      this.#taken(bytes.length);
    });
  }
}

/** One sandbox in a capture. */
export class SandboxCapture {
  readonly interfaceId: number;
  readonly #capture: Capture;
  readonly #digester: Digester;
  /** Methods of requests that were not answered yet, by connection and id. */
  readonly #methods = new Map<number, string>();
  /** Messages of which a part has come and the last has not: requests by key, responses by its complement. */
  readonly #unfinished = new Set<number>();
  readonly #redaction: RedactOptions;
  /** Records since the section's start. */
  received = 0;
  dropped = 0;

  constructor(interfaceId: number, capture: Capture, digester: Digester) {
    this.interfaceId = interfaceId;
    this.#capture = capture;
    this.#digester = digester;
    const digests = capture.content === 'digests';
    this.#redaction = {
      secretsOnly: capture.content === 'payload',
      placeholder: (content, declaredBytes) => {
        if (content.length < declaredBytes) return `<${declaredBytes} bytes, cut>`;
        const digest = digests ? ` ${digester.digest(0, 0, content).toString('hex', 0, DIGEST_BYTES)}` : '';
        return `<${declaredBytes} bytes${digest}>`;
      },
    };
  }

  /**
   * A frame has crossed.
   * @param encoded the whole frame, header and trailer included; nothing of it is kept
   * @param flags UNOWNED, OWN
   */
  frame(direction: Direction, connection: number, encoded: Buffer, flags = 0): void {
    const payload = encoded.subarray(HEADER_BYTES, encoded.length - TRAILER_BYTES);
    const kept = this.#keep(connection, encoded, payload);
    const redacted = kept !== payload;
    const data = this.#record(
      PSEUDO_HEADER_BYTES + HEADER_BYTES + kept.length,
      PSEUDO_HEADER_BYTES + HEADER_BYTES + payload.length,
    );
    if (data === undefined) return;
    writePseudoHeader(
      data,
      RecordKind.frame,
      direction,
      connection,
      redacted ? flags | RecordFlag.REDACTED : flags,
    );
    if (redacted && payload.length > 0 && this.#capture.content === 'digests') {
      const digest = this.#digester.digest(encoded.readUInt32LE(8), offsetOf(encoded), payload);
      digest.copy(data, 8, 0, DIGEST_BYTES);
    }
    encoded.copy(data, PSEUDO_HEADER_BYTES, 0, HEADER_BYTES);
    if (kept.length > 0) kept.copy(data, PSEUDO_HEADER_BYTES + HEADER_BYTES);
  }

  event(
    event: CaptureEventName,
    connection = 0,
    { code = 0, value = 0, text = '' }: { code?: number; value?: number; text?: string } = {},
  ): void {
    const words = Buffer.from(text, 'utf8').subarray(0, MAX_EVENT_TEXT_BYTES);
    const bytes = PSEUDO_HEADER_BYTES + EVENT_BYTES + words.length;
    if (event === 'client_closed') this.#forget(connection);
    const data = this.#record(bytes, bytes);
    if (data === undefined) return;
    writePseudoHeader(data, RecordKind.event, Direction.none, connection, 0);
    data.writeUInt16LE(CaptureEvent[event], PSEUDO_HEADER_BYTES);
    data.writeUInt16LE(code, PSEUDO_HEADER_BYTES + 2);
    data.writeUInt32LE(Math.min(value, TWO_TO_32 - 1), PSEUDO_HEADER_BYTES + 4);
    words.copy(data, PSEUDO_HEADER_BYTES + EVENT_BYTES);
  }

  #record(capturedBytes: number, originalBytes: number): Buffer | undefined {
    this.received++;
    const data = this.#capture.packet(this.interfaceId, capturedBytes, originalBytes);
    if (data === undefined) this.dropped++;
    return data;
  }

  /** @returns `payload` itself when all of it may be kept */
  #keep(connection: number, encoded: Buffer, payload: Buffer): Buffer {
    const whole = this.#redaction.secretsOnly;
    switch (encoded[4]) {
      case FrameType.DATA:
        // Records of control streams are signals and sizes.
        return whole || (encoded.readUInt32LE(8) & 3) === 0 ? payload : NO_PAYLOAD;
      case FrameType.EXIT:
        return whole || payload.length <= 24 ? payload : payload.subarray(0, 24);
      case FrameType.ATTACH: {
        const copy = Buffer.from(payload);
        copy.fill(0, 0, TOKEN_BYTES);
        return copy;
      }
      case FrameType.REQUEST:
      case FrameType.RESPONSE:
        return this.#keepMessage(connection, encoded, payload);
      default:
        return payload;
    }
  }

  #keepMessage(connection: number, encoded: Buffer, payload: Buffer): Buffer {
    const request = encoded[4] === FrameType.REQUEST;
    const key = connection * TWO_TO_32 + encoded.readUInt32LE(8);
    const part = request ? key : -key - 1;
    const more = ((encoded[5] ?? 0) & MORE) !== 0;
    const first = !this.#unfinished.has(part);
    if (!more) this.#unfinished.delete(part);
    else if (this.#unfinished.size < MAX_METHODS) this.#unfinished.add(part);
    let kept = first || this.#redaction.secretsOnly ? payload : NO_PAYLOAD;
    if (request && first) {
      const { bytes, method } = redactRequest(payload, this.#redaction);
      if (!more || !this.#redaction.secretsOnly) kept = bytes;
      if (this.#methods.size < MAX_METHODS) this.#methods.set(key, method);
    } else if (!request && first && !(more && this.#redaction.secretsOnly))
      kept = redactResponse(payload, this.#methods.get(key) ?? '', this.#redaction);
    if (!request && !more) this.#methods.delete(key);
    return kept !== payload && kept.equals(payload) ? payload : kept;
  }

  #forget(connection: number): void {
    const of = (key: number): boolean => Math.floor(key / TWO_TO_32) === connection;
    for (const key of this.#methods.keys()) if (of(key)) this.#methods.delete(key);
    for (const part of this.#unfinished) if (of(part < 0 ? -part - 1 : part)) this.#unfinished.delete(part);
  }
}

function writePseudoHeader(
  data: Buffer,
  kind: number,
  direction: Direction,
  connection: number,
  flags: number,
): void {
  data[0] = RECORD_VERSION;
  data[1] = kind;
  data[2] = direction;
  data[3] = flags;
  data.writeUInt32LE(connection, 4);
  data.fill(0, 8, PSEUDO_HEADER_BYTES);
}

function offsetOf(encoded: Buffer): number {
  return encoded.readUInt32LE(20) * TWO_TO_32 + encoded.readUInt32LE(16);
}

/** Nanoseconds since 1970 as two words of 32 bits: a double has no room for them. */
class SectionClock {
  readonly #startHigh: number;
  readonly #startLow: number;
  readonly #startMs = performance.now();
  high = 0;
  low = 0;

  constructor() {
    const startNs = BigInt(Date.now()) * 1_000_000n;
    this.#startHigh = Number(startNs >> 32n);
    this.#startLow = Number(startNs & 0xffff_ffffn);
  }

  tick(): void {
    const low = this.#startLow + Math.round((performance.now() - this.#startMs) * 1e6);
    const carry = Math.floor(low / TWO_TO_32);
    this.high = this.#startHigh + carry;
    this.low = low - carry * TWO_TO_32;
  }
}
