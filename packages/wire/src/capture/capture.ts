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
/** What comes within this time leaves together: each write costs whoever captures more than a hundred records do. */
const GATHER_MS = 10;
/** Requests whose method is remembered for the answer: as many as a link may have under way, and some. */
const MAX_METHODS = 4096;
const NO_PAYLOAD = Buffer.alloc(0);
/** How it ended; the text behind it may tell of a person's files. */
const EXIT_KEPT_BYTES = 24;
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
  /** Chunks that were taken, to be used again: as many as may wait. New memory costs more than what is put into it. */
  readonly #free: Chunk[] = [];
  #chunk: Chunk | undefined;
  #from = 0;
  #filled = 0;
  #queuedBytes = 0;
  #gathering: NodeJS.Timeout | undefined;
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

  /** Where `packet` has made room. */
  get memory(): Buffer {
    return this.#chunk?.memory ?? NO_PAYLOAD;
  }

  /**
   * Makes room for a packet's data, which the caller fills in before anything else is done.
   * @returns where in `memory` it begins; undefined when it is to be dropped
   */
  packet(interfaceId: number, capturedBytes: number, originalBytes: number): number | undefined {
    const total = packetBlockBytes(capturedBytes);
    if (this.#closed || !this.#hasRoom(total)) return undefined;
    const at = this.#reserve(total);
    this.#clock.tick();
    writePacketBlock(this.memory, at, {
      interfaceId,
      timeHigh: this.#clock.high,
      timeLow: this.#clock.low,
      capturedBytes,
      originalBytes: Math.max(originalBytes, capturedBytes),
    });
    return at + PACKET_HEAD_BYTES;
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
    block.copy(this.memory, at);
  }

  #reserve(bytes: number): number {
    if (this.#chunk === undefined || this.#filled + bytes > CHUNK_BYTES) {
      this.#flush();
      if (this.#chunk !== undefined) {
        this.#chunk.full = true;
        this.#reuse(this.#chunk);
      }
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
    this.#gathering ??= setTimeout(() => this.#flush(), GATHER_MS);
    return at;
  }

  #flush(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    const chunk = this.#chunk;
    if (chunk === undefined || this.#from === this.#filled) return;
    const bytes = chunk.memory.subarray(this.#from, this.#filled);
    this.#from = this.#filled;
    chunk.writes++;
    this.#options.write(bytes, () => {
      chunk.writes--;
      this.#reuse(chunk);
      this.#taken(bytes.length);
    });
  }

  #reuse(chunk: Chunk): void {
    if (chunk.writes > 0 || !chunk.full) return;
    chunk.full = false;
    this.#free.push(chunk);
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
    const payloadBytes = encoded.length - HEADER_BYTES - TRAILER_BYTES;
    const rewritten = this.#rewrite(connection, encoded);
    const keptBytes = rewritten === undefined ? this.#keptBytes(encoded, payloadBytes) : 0;
    const redacted = rewritten !== undefined || keptBytes < payloadBytes;
    const headBytes = PSEUDO_HEADER_BYTES + HEADER_BYTES;
    const at = this.#record(headBytes + (rewritten?.length ?? keptBytes), headBytes + payloadBytes);
    if (at === undefined) return;
    const { memory } = this.#capture;
    const allFlags = redacted ? flags | RecordFlag.REDACTED : flags;
    writePseudoHeader(memory, at, RecordKind.frame, direction, connection, allFlags);
    if (redacted && payloadBytes > 0 && this.#capture.content === 'digests')
      this.#digester
        .digest(encoded.readUInt32LE(8), offsetOf(encoded), payloadOf(encoded))
        .copy(memory, at + 8, 0, DIGEST_BYTES);
    encoded.copy(memory, at + PSEUDO_HEADER_BYTES, 0, HEADER_BYTES + keptBytes);
    rewritten?.copy(memory, at + headBytes);
  }

  event(
    event: CaptureEventName,
    connection = 0,
    { code = 0, value = 0, text = '' }: { code?: number; value?: number; text?: string } = {},
  ): void {
    const words = Buffer.from(text, 'utf8').subarray(0, MAX_EVENT_TEXT_BYTES);
    const bytes = PSEUDO_HEADER_BYTES + EVENT_BYTES + words.length;
    if (event === 'client_closed') this.#forget(connection);
    const at = this.#record(bytes, bytes);
    if (at === undefined) return;
    const { memory } = this.#capture;
    writePseudoHeader(memory, at, RecordKind.event, Direction.none, connection, 0);
    const eventAt = at + PSEUDO_HEADER_BYTES;
    memory.writeUInt16LE(CaptureEvent[event], eventAt);
    memory.writeUInt16LE(code, eventAt + 2);
    memory.writeUInt32LE(Math.min(value, TWO_TO_32 - 1), eventAt + 4);
    words.copy(memory, eventAt + EVENT_BYTES);
  }

  #record(capturedBytes: number, originalBytes: number): number | undefined {
    this.received++;
    const at = this.#capture.packet(this.interfaceId, capturedBytes, originalBytes);
    if (at === undefined) this.dropped++;
    return at;
  }

  /** Of a payload that nothing is put into: how many bytes of it are kept, from its beginning. */
  #keptBytes(encoded: Buffer, payloadBytes: number): number {
    if (this.#redaction.secretsOnly) return payloadBytes;
    switch (encoded[4]) {
      case FrameType.DATA:
        // Records of control streams are signals and sizes.
        return (encoded.readUInt32LE(8) & 3) === 0 ? payloadBytes : 0;
      case FrameType.EXIT:
        return Math.min(payloadBytes, EXIT_KEPT_BYTES);
      default:
        return payloadBytes;
    }
  }

  /** @returns what is kept instead of the payload; undefined when it is its own beginning, as long as #keptBytes says */
  #rewrite(connection: number, encoded: Buffer): Buffer | undefined {
    switch (encoded[4]) {
      case FrameType.ATTACH: {
        const copy = Buffer.from(payloadOf(encoded));
        copy.fill(0, 0, TOKEN_BYTES);
        return copy;
      }
      case FrameType.REQUEST:
      case FrameType.RESPONSE: {
        const payload = payloadOf(encoded);
        const kept = this.#keepMessage(connection, encoded, payload);
        return kept.equals(payload) ? undefined : kept;
      }
      default:
        return undefined;
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
    return kept;
  }

  #forget(connection: number): void {
    const of = (key: number): boolean => Math.floor(key / TWO_TO_32) === connection;
    for (const key of this.#methods.keys()) if (of(key)) this.#methods.delete(key);
    for (const part of this.#unfinished) if (of(part < 0 ? -part - 1 : part)) this.#unfinished.delete(part);
  }
}

function payloadOf(encoded: Buffer): Buffer {
  return encoded.subarray(HEADER_BYTES, encoded.length - TRAILER_BYTES);
}

function writePseudoHeader(
  memory: Buffer,
  at: number,
  kind: number,
  direction: Direction,
  connection: number,
  flags: number,
): void {
  memory[at] = RECORD_VERSION;
  memory[at + 1] = kind;
  memory[at + 2] = direction;
  memory[at + 3] = flags;
  memory.writeUInt32LE(connection, at + 4);
  memory.writeUInt32LE(0, at + 8);
  memory.writeUInt32LE(0, at + 12);
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
