/**
 * stdout or stderr of a process as a Readable. A byte counts as delivered when it is handed to the
 * Readable's own small buffer, so credit is what the consumer lets go: one that does not read holds up the
 * writing process after about 1 MiB, and nothing else.
 */
import { Readable } from 'node:stream';
import type { ReceiveStream } from '@coracle/wire';

/**
 * Payloads are views of what a socket read, 64 KiB at most. Smaller ones are gathered in blocks: a peer that
 * sends single bytes to a stuck reader would otherwise pin 64 KiB with each.
 */
const GATHER_BELOW_BYTES = 8 * 1024;
const BLOCK_BYTES = 16 * 1024;
const EMPTY = Buffer.alloc(0);

export interface OutputStreamEvents {
  /** A WINDOW or STOP frame is to be sent. */
  send(frame: Buffer): void;
  /** The stream was stopped: its end may now be all that was missing. */
  changed(): void;
}

export class OutputStream extends Readable {
  readonly #receive: ReceiveStream;
  readonly #events: OutputStreamEvents;
  /** Received, not yet handed to the Readable. */
  #held: Buffer[] = [];
  #block = EMPTY;
  /** The gathering block's bytes from `#blockFrom` to `#blockEnd` are the last entry of `#held`. */
  #blockFrom = 0;
  #blockEnd = 0;
  #hungry = true;
  #flushQueued = false;
  #ended = false;
  #failure: Error | undefined;

  /** @param bufferBytes what the Readable itself buffers */
  constructor(receive: ReceiveStream, events: OutputStreamEvents, bufferBytes: number) {
    super({ highWaterMark: bufferBytes });
    this.#receive = receive;
    this.#events = events;
    // An error that nobody listens for must not end the program: wait() reports what happened.
    this.on('error', () => undefined);
  }

  /** New bytes, a view that holds as long as its memory is not reused. */
  receive(bytes: Buffer): void {
    if (bytes.length === 0 || this.destroyed) return;
    if (bytes.length < GATHER_BELOW_BYTES) this.#gather(bytes);
    else this.#held.push(bytes);
    this.#queueFlush();
  }

  /** The final offset is known. */
  finalKnown(): void {
    this.#queueFlush();
  }

  /** No more will come: the consumer gets what is here, then the error. */
  fail(error: Error): void {
    if (this.#ended || this.destroyed) return;
    this.#failure = error;
    this.#queueFlush();
  }

  override _read(): void {
    this.#hungry = true;
    this.#flush();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#held = [];
    if (!this.#receive.complete && !this.#receive.stopped) {
      this.#events.send(this.#receive.stop());
      this.#events.changed();
    }
    callback(error);
  }

  #gather(bytes: Buffer): void {
    const joined = this.#held.length > 0 && this.#held.at(-1)?.buffer === this.#block.buffer;
    if (this.#block.length - this.#blockEnd < bytes.length) {
      // Not from Buffer's pool: blocks are told apart by their memory.
      this.#block = Buffer.allocUnsafeSlow(BLOCK_BYTES);
      this.#blockFrom = this.#blockEnd = 0;
    } else if (!joined) {
      this.#blockFrom = this.#blockEnd;
    }
    const extend = joined && this.#blockFrom !== this.#blockEnd;
    bytes.copy(this.#block, this.#blockEnd);
    this.#blockEnd += bytes.length;
    const gathered = this.#block.subarray(this.#blockFrom, this.#blockEnd);
    if (extend) this.#held[this.#held.length - 1] = gathered;
    else this.#held.push(gathered);
  }

  /** In a tick of its own: listeners of `data` run here, and what they throw is no fault of the connection. */
  #queueFlush(): void {
    if (this.#flushQueued) return;
    this.#flushQueued = true;
    process.nextTick(() => {
      this.#flushQueued = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (this.#ended || this.destroyed) return;
    while (this.#hungry) {
      // Taken off before push: a listener may read, which comes back here.
      const bytes = this.#held.shift();
      if (bytes === undefined) break;
      const window = this.#receive.deliver(bytes.length);
      if (window !== undefined) this.#events.send(window);
      this.#hungry = this.push(bytes);
    }
    if (this.#held.length > 0 || this.#ended || this.destroyed) return;
    if (this.#receive.complete) {
      this.#ended = true;
      this.push(null);
    } else if (this.#failure !== undefined) {
      // Destroying throws the Readable's buffer away, so it waits until that was read. The empty push only
      // lets the Readable ask again.
      if (this.readableLength === 0) this.destroy(this.#failure);
      else this.push(EMPTY);
    }
  }
}
