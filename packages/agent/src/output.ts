/**
 * One output of a process: from its pipe or pty into a SendStream, at the pace of the receiver.
 *
 *   reading ── EOF, or the cut is reached ──► discarding ── last writer gone ──► closed
 *
 * While discarding, bytes of grandchildren are read and thrown away, so that they neither block nor die.
 */
import { bytesReadable, close, read, Watch } from '@coracle/sys';
import type { SendStream } from '@coracle/wire';
import { GATHER_MS, Gather } from './gather.ts';
import { Retention, type RetentionBudget } from './retention.ts';

/** One read takes half of what a pipe holds (stdio.ts): a foreign call costs as much as copying 8 KiB. */
const BUFFER_BYTES = 128 * 1024;
/** What is read of one source before others have their turn. */
const BUFFERS_PER_TURN = 1;
/** Smaller reads are copied, so that a stream never keeps much more memory than bytes. */
const HAND_OVER_BYTES = BUFFER_BYTES / 2;
/** Much more than the buffers of a pty hold (8 KiB in the driver, 4 KiB in the line discipline). */
const TERMINAL_DRAIN_BYTES = 1024 * 1024;

// All reads are synchronous, so one buffer serves every source.
let buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);

export class Output {
  readonly #fd: number;
  readonly #stream: SendStream;
  readonly #terminal: boolean;
  readonly #watch: Watch;
  readonly #retention: Retention;
  #state: 'reading' | 'discarding' | 'closed' = 'reading';
  /** Where the stream ends, once the process has exited. */
  #cutAt = Number.POSITIVE_INFINITY;
  readonly #gather = new Gather();
  #pause: NodeJS.Timeout | undefined;

  /** @param fd a nonblocking pipe or pty master, which belongs to the Output from now on */
  constructor(fd: number, stream: SendStream, options: { terminal: boolean; budget: RetentionBudget }) {
    this.#fd = fd;
    this.#stream = stream;
    this.#terminal = options.terminal;
    this.#watch = new Watch(fd, {}, () => this.#onReadable());
    this.#retention = new Retention(options.budget, () => this.#updateInterest());
    this.#updateInterest();
  }

  /** The stream has room again. */
  onRoom(): void {
    this.#retention.update(this.#stream.kept);
    this.#updateInterest();
  }

  /** The process was given input. What it answers does not wait, not even for a pause that has begun. */
  onInput(): void {
    this.#gather.onInput();
    if (this.#pause === undefined) return;
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#updateInterest();
  }

  /** The receiver takes no more. */
  onStopped(): void {
    if (this.#state !== 'reading') return;
    this.#finish();
    // The writer is to see EPIPE; but closing a master would hang its terminal up.
    if (!this.#terminal) this.close();
  }

  /** The process has been reaped. @returns the final offset of the stream */
  onExit(): number {
    if (this.#state === 'reading') {
      if (this.#terminal) this.#drainTerminal();
      else {
        this.#cutAt = this.#stream.end + bytesReadable(this.#fd);
        if (this.#cutAt === this.#stream.end) this.#finish();
        this.#updateInterest();
        return this.#cutAt;
      }
    }
    return this.#stream.final ?? Math.min(this.#cutAt, this.#stream.end);
  }

  close(): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    clearTimeout(this.#pause);
    this.#stream.finish();
    this.#watch.close();
    close(this.#fd);
  }

  /** Nobody will want any more what is kept. */
  dispose(): void {
    this.close();
    this.#retention.release();
  }

  /** Bytes that may be read now. */
  get #room(): number {
    const { room } = this.#stream;
    return this.#stream.stopped || room <= 0 ? room : Math.min(room, this.#retention.room(this.#stream.kept));
  }

  #onReadable(): void {
    if (this.#state === 'discarding') this.#discard();
    else {
      const before = this.#stream.end;
      this.#readSome();
      if (this.#gather.onRead(this.#stream.end - before, performance.now())) this.#waitForMore();
    }
    this.#updateInterest();
  }

  #waitForMore(): void {
    this.#pause = setTimeout(() => {
      this.#pause = undefined;
      if (this.#state !== 'closed') this.#onReadable();
    }, GATHER_MS);
  }

  #readSome(): void {
    for (let turn = 0; turn < BUFFERS_PER_TURN && this.#state === 'reading'; turn++) {
      const wanted = Math.min(this.#room, this.#cutAt - this.#stream.end, BUFFER_BYTES);
      if (wanted <= 0) return;
      if (this.#readInto(wanted) !== 'more') return;
    }
  }

  /** Reads up to `wanted` bytes, in as many reads as it takes: a pty gives a few KiB at a time. */
  #readInto(wanted: number): 'more' | 'again' | 'eof' {
    let filled = 0;
    let result: 'more' | 'again' | 'eof' = 'more';
    while (filled < wanted) {
      const count = read(this.#fd, buffer.subarray(filled, wanted));
      if (typeof count !== 'number') {
        result = count;
        break;
      }
      filled += count;
    }
    if (filled >= HAND_OVER_BYTES) {
      this.#stream.push(buffer.subarray(0, filled));
      buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
    } else if (filled > 0) this.#stream.push(Buffer.from(buffer.subarray(0, filled)));
    this.#retention.update(this.#stream.kept);
    if (result === 'eof') this.close();
    else if (this.#stream.end === this.#cutAt) this.#finish();
    return result;
  }

  /** Beyond the receiver's credit too, so that the final offset is known now; the buffers are small. */
  #drainTerminal(): void {
    const limit = this.#stream.end + TERMINAL_DRAIN_BYTES;
    while (this.#state === 'reading' && this.#stream.end < limit) {
      if (this.#readInto(BUFFER_BYTES) !== 'more') break;
    }
    if (this.#state === 'reading') this.#finish();
    this.#updateInterest();
  }

  #finish(): void {
    this.#stream.finish();
    if (this.#state === 'reading') this.#state = 'discarding';
  }

  #discard(): void {
    for (let turn = 0; turn < BUFFERS_PER_TURN; turn++) {
      const count = read(this.#fd, buffer);
      if (count === 'eof') this.close();
      if (typeof count !== 'number') return;
    }
  }

  #updateInterest(): void {
    if (this.#state === 'closed') return;
    const wanted = this.#state === 'discarding' || (this.#pause === undefined && this.#room > 0);
    this.#watch.change({ readable: wanted });
  }
}
