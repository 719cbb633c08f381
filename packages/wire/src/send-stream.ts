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
import { encodeFrame, FrameType, writeHeader } from './frame.ts';
import { borrowFrame } from './frame-pool.ts';
import { HEADER_BYTES, MAX_PAYLOAD_BYTES, MAX_START_OFFSET } from './limits.ts';
import { CONTROL_RECORD_BYTES } from './payloads.ts';
import { describeStream } from './streams.ts';

export interface SendStreamEvents {
  /** Bytes, an end of file or credit have come: `pull` may have something. */
  ready(stream: SendStream): void;
  /** Kept bytes were let go: `room` has grown. */
  room(stream: SendStream): void;
  /** The receiver takes no more; the source is to be closed. */
  stopped(stream: SendStream): void;
  /** Bytes that were sent before leave again. */
  retransmitted?(bytes: number): void;
  /** All is sent that may be. */
  stalled?(): void;
}

export interface SendStreamOptions {
  /**
   * How many bytes it keeps for the receiver at most; `push` beyond it is the caller's mistake. At least a
   * quarter of the receiver's window, which is what the receiver may deliver without telling.
   */
  readonly retentionBytes: number;
}

/** Pieces below this are copied into a common block. */
const SMALL_BYTES = 4096;
/** Of the first common block; each further one is twice as large, up to the last size. */
const FIRST_BLOCK_BYTES = 1024;
const LAST_BLOCK_BYTES = 32 * 1024;
const NO_BLOCK = Buffer.alloc(0);

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
  /** Where small pieces are joined; the part up to `#blockFilled` is in use and does not change any more. */
  #block: Buffer = NO_BLOCK;
  #blockFilled = 0;
  #base = 0;
  #next = 0;
  #end = 0;
  #limit = 0;
  /** Highest offset ever sent, which the receiver may have delivered. At least `next`: a re-attach sets that back. */
  #sent = 0;
  /** `delivered` as the receiver told it last. `base` may be ahead of it: see `resume`. */
  #acknowledged = 0;
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
  /** Bytes that the receiver has not delivered. */
  get kept(): number {
    return this.#end - this.#base;
  }
  /** True when everything up to the end of file was delivered. */
  get done(): boolean {
    return this.#final !== undefined && this.#base === this.#final;
  }

  /** Takes bytes from the source and owns them from now on. After STOP they are dropped. */
  push(bytes: Uint8Array): void {
    if (bytes.length === 0 || this.#stopped) return;
    if (this.#final !== undefined)
      throw new RpcError('internal', `bytes after the end of ${describeStream(this.id)}`);
    this.#end += bytes.length;
    if (bytes.length < SMALL_BYTES) this.#join(bytes);
    else this.#chunks.push(bytes);
    if (this.#attached) this.#events.ready(this);
  }

  /** The source has ended; more than once is fine. */
  finish(): void {
    if (this.#final !== undefined) return;
    this.#final = this.#end;
    this.#letGoWhenDone();
    if (this.#attached) this.#events.ready(this);
  }

  /** @throws RpcError out_of_range when `from` was never sent */
  checkAttach(from: number): void {
    if (from > this.#sent) {
      throw new RpcError(
        'out_of_range',
        `cannot resume ${describeStream(this.id)} at ${from}: only ${this.#sent} bytes were sent`,
      );
    }
  }

  /**
   * A receiver has attached, has delivered up to `from` and grants credit up to `limit`.
   * @returns where sending goes on: larger than `from` when an earlier receiver has delivered more
   * @throws RpcError out_of_range when `from` was never sent
   */
  attach(from: number, limit: number, generation: number): number {
    this.checkAttach(from);
    const start = Math.max(from, this.#base);
    const freed = start > this.#base;
    this.#acknowledged = start;
    this.#begin(limit, generation);
    this.#moveBase(start);
    this.#rewind(start);
    this.#events.ready(this);
    // The WINDOW that would have said so may have been lost with the last connection.
    if (freed) this.#events.room(this);
    return start;
  }

  /**
   * For a sender that attaches itself: the receiver expects `next` and grants credit up to `limit`. What it
   * has received it keeps, so it is let go here. When others have sent before, and nothing of this sender
   * is under way, its numbers begin at `next`.
   * @throws RpcError data_loss when the receiver expects bytes that were let go, or has bytes of another sender
   */
  resume(next: number, limit: number, generation: number): void {
    if (next > MAX_START_OFFSET) throw violation(`${describeStream(this.id)} resumed at offset ${next}`);
    if (!this.#stopped) {
      if (next > this.#sent && this.#base === this.#sent) this.#renumber(next - this.#base);
      if (next < this.#base || next > this.#sent) {
        throw new RpcError(
          'data_loss',
          `the receiver of ${describeStream(this.id)} expects offset ${next}; kept are ${this.#base} to ${this.#sent}`,
        );
      }
    }
    const freed = !this.#stopped && next > this.#base;
    this.#begin(limit, generation);
    if (!this.#stopped) {
      this.#moveBase(next);
      this.#rewind(next);
    }
    this.#events.ready(this);
    if (freed) this.#events.room(this);
  }

  #begin(limit: number, generation: number): void {
    this.#generation = generation;
    this.#attached = true;
    this.#limit = limit;
    this.#finalSent = false;
  }

  /** Moves all offsets of bytes that nobody has seen yet. */
  #renumber(by: number): void {
    this.#base += by;
    this.#next += by;
    this.#sent += by;
    this.#end += by;
    this.#chunksFrom += by;
    if (this.#final !== undefined) this.#final += by;
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
    if (delivered < this.#acknowledged)
      throw violation(
        `WINDOW for ${describeStream(this.id)} goes back from ${this.#acknowledged} to ${delivered}`,
      );
    if (limit < this.#limit) throw violation(`WINDOW for ${describeStream(this.id)} takes credit back`);
    const grew = limit > this.#limit;
    this.#limit = limit;
    this.#acknowledged = delivered;
    const freed = delivered > this.#base;
    if (freed) {
      this.#moveBase(delivered);
      // After a re-attach it may have delivered bytes that it had, and that were to be sent again.
      if (this.#next < delivered) this.#rewind(delivered);
    }
    // After an attach, what the receiver held all the time may be delivered before it was sent again.
    if (delivered > this.#next) this.#rewind(delivered);
    if (grew) this.#events.ready(this);
    if (freed) this.#events.room(this);
  }

  /**
   * STOP has come: the receiver takes no more. The stream ends where it stands, for every later receiver too:
   * `final` is the offset to say in EXIT.
   */
  stop(): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#final ??= this.#end;
    this.#skipToEnd();
    this.#events.stopped(this);
    this.#events.room(this);
    if (this.#attached) this.#events.ready(this);
  }

  /** The next frame to send (DATA, or EOF), or undefined when there is nothing or no credit. */
  pull(): Buffer | undefined {
    if (!this.#attached) return undefined;
    const length = Math.min(this.#end, this.#limit) - this.#next;
    if (length > 0 && !this.#stopped) {
      const most = Math.min(length, MAX_PAYLOAD_BYTES);
      const wanted = this.urgent ? most - (most % CONTROL_RECORD_BYTES) : most;
      return wanted > 0 ? this.#pullData(wanted) : undefined;
    }
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

  #pullData(length: number): Buffer {
    const bytes = borrowFrame(length);
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
    if (this.#next < this.#sent) this.#events.retransmitted?.(Math.min(this.#sent - this.#next, length));
    this.#next += length;
    if (this.#next > this.#sent) this.#sent = this.#next;
    if (this.#next === this.#limit) this.#events.stalled?.();
    return bytes;
  }

  /** Copies small pieces behind each other: a program that writes byte by byte must not cost an object each. */
  #join(bytes: Uint8Array): void {
    if (this.#block.length - this.#blockFilled < bytes.length) {
      // Most processes write little, and thousands may be remembered: a block must not cost much more than its bytes.
      this.#block = Buffer.allocUnsafeSlow(this.#nextBlockBytes(bytes.length));
      this.#blockFilled = 0;
    }
    const from = this.#blockFilled;
    this.#block.set(bytes, from);
    this.#blockFilled = from + bytes.length;
    const last = this.#chunks.at(-1);
    if (last === undefined || last.buffer !== this.#block.buffer || last.byteOffset + last.length !== from) {
      this.#chunks.push(this.#block.subarray(from, this.#blockFilled));
      return;
    }
    if (this.#cursor === this.#chunks.length) {
      this.#cursor--;
      this.#cursorAt = last.length;
    }
    this.#chunks[this.#chunks.length - 1] = this.#block.subarray(last.byteOffset, this.#blockFilled);
  }

  #nextBlockBytes(atLeast: number): number {
    let size = Math.min(Math.max(2 * this.#block.length, FIRST_BLOCK_BYTES), LAST_BLOCK_BYTES);
    while (size < atLeast) size *= 2;
    return size;
  }

  /** A stream that is done stays for whoever asks how its process ended: without its memory. */
  #letGoWhenDone(): void {
    if (!this.done) return;
    this.#block = NO_BLOCK;
    this.#blockFilled = 0;
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
    this.#letGoWhenDone();
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
    this.#block = NO_BLOCK;
    this.#blockFilled = 0;
    this.#chunks = [];
    this.#base = this.#next = this.#sent = this.#chunksFrom = this.#end;
    this.#cursor = 0;
    this.#cursorAt = 0;
  }
}
