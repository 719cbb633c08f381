import { Duplex } from 'node:stream';
import { close, read, setNonblocking, write } from './fd.ts';
import { POLLHUP, POLLOUT, pollNow, Watch } from './poll.ts';

/** The kernel's queue of one terminal holds 64 KiB at most (TTYB_DEFAULT_MEM_LIMIT), a read gives up to 4 KiB. */
const READ_BYTES = 16 * 1024;
/** Reads in a row before other descriptors get their turn. */
const READS_PER_TURN = 16;

const scratch = Buffer.alloc(READ_BYTES);

/**
 * A pty master as a stream. It ends after the last byte, when everybody has closed the slave, and is destroyed
 * then; a caller who holds a slave open therefore never sees the end.
 *
 * The descriptor belongs to the stream, which makes it nonblocking and closes it when destroyed. A terminal
 * has no half-close: `end()` waits until all is written, and says nothing to the processes (send them ^D).
 * What was written and is not read by anybody when the last slave is closed, is dropped without an error.
 */
export class PtyStream extends Duplex {
  readonly fd: number;
  readonly #watch: Watch;
  #wantsRead = false;
  #pending: { bytes: Buffer; done: (error?: Error | null) => void } | undefined;

  constructor(master: number) {
    super({ allowHalfOpen: false });
    this.fd = master;
    setNonblocking(master, true);
    this.#watch = new Watch(master, {}, (ready) => this.#onReady(ready.readable, ready.writable));
  }

  #onReady(readable: boolean, writable: boolean): void {
    try {
      if (writable) this.#writePending();
      if (readable && this.#wantsRead) this.#readSome();
      this.#updateInterest();
    } catch (error) {
      this.destroy(error as Error);
    }
  }

  #updateInterest(): void {
    if (!this.destroyed)
      this.#watch.change({ readable: this.#wantsRead, writable: this.#pending !== undefined });
  }

  #readSome(): void {
    for (let turn = 0; turn < READS_PER_TURN && this.#wantsRead && !this.destroyed; turn++) {
      const count = read(this.fd, scratch);
      if (count === 'again') return;
      if (count === 'eof') {
        this.#wantsRead = false;
        this.#dropPending();
        this.push(null);
        return;
      }
      // false until push says there is room; a _read called inside push sets it again
      this.#wantsRead = false;
      if (this.push(Buffer.from(scratch.subarray(0, count)))) this.#wantsRead = true;
    }
  }

  #writePending(): void {
    const pending = this.#pending;
    if (pending === undefined) return;
    const count = write(this.fd, pending.bytes);
    if (count === 'again') {
      // Nobody will ever make room, and a hung-up descriptor polls as ready for ever.
      if (pollNow(this.fd, POLLOUT) & POLLHUP) this.#dropPending();
      return;
    }
    if (count < pending.bytes.length) {
      pending.bytes = pending.bytes.subarray(count);
      return;
    }
    this.#pending = undefined;
    pending.done();
  }

  #dropPending(): void {
    const pending = this.#pending;
    this.#pending = undefined;
    pending?.done();
  }

  override _read(): void {
    this.#wantsRead = true;
    this.#updateInterest();
  }

  override _write(bytes: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#pending = { bytes, done };
    try {
      this.#writePending();
      this.#updateInterest();
    } catch (error) {
      this.#pending = undefined;
      done(error as Error);
    }
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#watch.close();
    close(this.fd);
    done(error);
  }
}
