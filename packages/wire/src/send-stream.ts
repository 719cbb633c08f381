/**
 * The sending end of one stream. It numbers the bytes of its source from 0, keeps each byte until the
 * receiver has delivered it, and sends up to the receiver's limit. Pure: bytes and calls in, frames out.
 * The state table is in docs/protocol.md, section 3.
 *
 *      base            next            end            limit
 *   ────┼───────────────┼───────────────┼───────────────┼────►
 *       │  sent, kept   │   to be sent  │  not yet read │
 */
import { RpcError, violation } from './errors.ts';
import { allocateFrame, encodeFrame, FrameType, writeHeader } from './frame.ts';
import { HEADER_BYTES, MAX_PAYLOAD_BYTES } from './limits.ts';
import { describeStream } from './streams.ts';

export interface SendStreamEvents {
  /** Bytes, an end of file or credit have come: `pull` may have something. */
  ready(stream: SendStream): void;
  /** Kept bytes were let go: `room` has grown. */
  room(stream: SendStream): void;
  /** The receiver takes no more; the source is to be closed. */
  stopped(stream: SendStream): void;
}

export interface SendStreamOptions {
  /** How many bytes it keeps for the receiver at most; `push` beyond it is the caller's mistake. */
  readonly retentionBytes: number;
}

export class SendStream {
  readonly id: number;
  /** DATA frames of a control stream hold whole records, and go before those of other streams. */
  readonly urgent: boolean;
  readonly #events: SendStreamEvents;
  readonly #retentionBytes: number;
  /** What is kept, in order, from `base` on. */
  #chunks: Uint8Array[] = [];
  /** Offset of the first byte of `#chunks[0]`, at most `base`. */
  #chunksFrom = 0;
  /** Where `next` stands: chunk index and position in it, so that sending is not a search. */
  #cursor = 0;
  #cursorAt = 0;
  #base = 0;
  #next = 0;
  #end = 0;
  #limit = 0;
  /** Highest offset ever sent, which the receiver may have delivered. */
  #sent = 0;
  #final: number | undefined;
  #finalSent = false;
  #stopped = false;
  #attached = false;
  #generation = 0;

  constructor(id: number, events: SendStreamEvents, options: SendStreamOptions) {
    this.id = id;
    this.urgent = id % 4 === 0;
    this.#events = events;
    this.#retentionBytes = options.retentionBytes;
  }

  get base(): number {
    return this.#base;
  }
  get next(): number {
    return this.#next;
  }
  get end(): number {
    return this.#end;
  }
  get limit(): number {
    return this.#limit;
  }
  get final(): number | undefined {
    return this.#final;
  }
  get stopped(): boolean {
    return this.#stopped;
  }
  get generation(): number {
    return this.#generation;
  }
  /** Bytes that may still be pushed. */
  get room(): number {
    return this.#stopped ? Number.MAX_SAFE_INTEGER : this.#retentionBytes - (this.#end - this.#base);
  }
  /** True when everything up to the end of file was delivered. */
  get done(): boolean {
    return this.#final !== undefined && this.#base === this.#final;
  }

  /** Takes bytes from the source and owns them from now on. After STOP they are counted and dropped. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0) return;
    if (this.#final !== undefined)
      throw new RpcError('internal', `bytes after the end of ${describeStream(this.id)}`);
    this.#end += bytes.length;
    if (this.#stopped) {
      this.#skipToEnd();
      return;
    }
    this.#chunks.push(bytes);
    if (this.#attached) this.#events.ready(this);
  }

  /** The source has ended; more than once is fine. */
  finish(): void {
    if (this.#final !== undefined) return;
    this.#final = this.#end;
    if (this.#attached) this.#events.ready(this);
  }

  /**
   * A receiver has attached, has delivered up to `from` and grants credit up to `limit`.
   * @returns where sending goes on: larger than `from` when an earlier receiver has delivered more
   * @throws RpcError out_of_range when `from` was never sent
   */
  attach(from: number, limit: number, generation: number): number {
    if (from > this.#sent) {
      throw new RpcError(
        'out_of_range',
        `cannot resume ${describeStream(this.id)} at ${from}: only ${this.#sent} bytes were sent`,
      );
    }
    const start = Math.max(from, this.#base);
    this.#generation = generation;
    this.#attached = true;
    this.#limit = limit;
    this.#finalSent = false;
    this.#moveBase(start);
    this.#rewind(start);
    this.#events.ready(this);
    return start;
  }

  /**
   * For a sender that attaches itself: the receiver expects `next` and grants credit up to `limit`.
   * A sender that is new to the stream begins there.
   * @throws RpcError data_loss when the receiver expects bytes that were let go, or that never existed
   */
  resume(next: number, limit: number, generation: number): void {
    if (this.#end === 0 && this.#sent === 0) {
      this.#base = this.#next = this.#end = this.#sent = this.#chunksFrom = next;
    }
    if (next < this.#base || next > this.#end) {
      throw new RpcError(
        'data_loss',
        `the receiver of ${describeStream(this.id)} expects offset ${next}; kept are ${this.#base} to ${this.#end}`,
      );
    }
    this.#generation = generation;
    this.#attached = true;
    this.#limit = limit;
    this.#finalSent = false;
    this.#sent = Math.max(this.#sent, next);
    this.#rewind(next);
    this.#events.ready(this);
  }

  /** The receiver is gone: nothing is sent until the next attach. */
  detach(): void {
    this.#attached = false;
  }

  /**
   * WINDOW has come.
   * @throws RpcError invalid_argument when it breaks the rules
   */
  window(delivered: number, limit: number): void {
    if (this.#stopped) return;
    if (delivered > this.#sent)
      throw violation(`WINDOW for ${describeStream(this.id)} at ${delivered}, sent were ${this.#sent}`);
    if (delivered < this.#base)
      throw violation(`WINDOW for ${describeStream(this.id)} goes back from ${this.#base} to ${delivered}`);
    if (limit < this.#limit) throw violation(`WINDOW for ${describeStream(this.id)} takes credit back`);
    const grew = limit > this.#limit;
    this.#limit = limit;
    const freed = delivered > this.#base;
    this.#moveBase(delivered);
    // After an attach, what the receiver held all the time may be delivered before it was sent again.
    if (delivered > this.#next) this.#rewind(delivered);
    if (grew) this.#events.ready(this);
    if (freed) this.#events.room(this);
  }

  /** STOP has come: the receiver takes no more. */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#skipToEnd();
    this.#events.stopped(this);
    this.#events.room(this);
  }

  /** The next frame to send (DATA, or EOF), or undefined when there is nothing or no credit. */
  pull(): Buffer | undefined {
    if (!this.#attached) return undefined;
    const length = Math.min(this.#end, this.#limit) - this.#next;
    if (length > 0 && !this.#stopped) return this.#pullData(Math.min(length, MAX_PAYLOAD_BYTES));
    if (this.#final !== undefined && this.#next === this.#final && !this.#finalSent) {
      this.#finalSent = true;
      return encodeFrame({
        type: FrameType.EOF,
        id: this.id,
        generation: this.#generation,
        offset: this.#final,
      });
    }
    return undefined;
  }

  #pullData(wanted: number): Buffer {
    const length = this.urgent ? wanted - (wanted % 8) : wanted;
    const bytes = allocateFrame(length);
    let filled = 0;
    while (filled < length) {
      const chunk = this.#chunks[this.#cursor] as Uint8Array;
      const part = chunk.subarray(this.#cursorAt, this.#cursorAt + length - filled);
      bytes.set(part, HEADER_BYTES + filled);
      filled += part.length;
      this.#cursorAt += part.length;
      if (this.#cursorAt === chunk.length) {
        this.#cursor++;
        this.#cursorAt = 0;
      }
    }
    writeHeader(bytes, length, {
      type: FrameType.DATA,
      id: this.id,
      generation: this.#generation,
      offset: this.#next,
    });
    this.#next += length;
    if (this.#next > this.#sent) this.#sent = this.#next;
    return bytes;
  }

  #moveBase(base: number): void {
    this.#base = base;
    let gone = 0;
    for (;;) {
      const chunk = this.#chunks[gone];
      if (chunk === undefined || this.#chunksFrom + chunk.length > base) break;
      this.#chunksFrom += chunk.length;
      gone++;
    }
    if (gone > 0) {
      this.#chunks.splice(0, gone);
      this.#cursor -= gone;
    }
  }

  #rewind(next: number): void {
    this.#next = next;
    let at = this.#chunksFrom;
    this.#cursor = 0;
    for (;;) {
      const chunk = this.#chunks[this.#cursor];
      if (chunk === undefined || at + chunk.length > next) break;
      at += chunk.length;
      this.#cursor++;
    }
    this.#cursorAt = next - at;
  }

  #skipToEnd(): void {
    this.#chunks = [];
    this.#base = this.#next = this.#sent = this.#chunksFrom = this.#end;
    this.#cursor = 0;
    this.#cursorAt = 0;
  }
}
