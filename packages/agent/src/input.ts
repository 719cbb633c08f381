/** The input of a process: from a ReceiveStream into its pipe or pty. Delivered is what write(2) has taken. */
import { close, hasCode, Watch, write } from '@coracle/sys';

export interface InputEvents {
  /** `length` more bytes were written. */
  delivered(length: number): void;
  /** The process takes no more. */
  closed(): void;
}

export class Input {
  readonly #fd: number;
  readonly #terminal: boolean;
  readonly #events: InputEvents;
  readonly #watch: Watch;
  /** Copies of what the pipe had no room for; the stream's window bounds them. */
  #queue: Buffer[] = [];
  #ended = false;
  #closed = false;

  /** @param fd a nonblocking pipe or pty master, which belongs to the Input from now on */
  constructor(fd: number, options: { terminal: boolean }, events: InputEvents) {
    this.#fd = fd;
    this.#terminal = options.terminal;
    this.#events = events;
    this.#watch = new Watch(fd, {}, () => this.#onWritable());
  }

  /** Takes bytes that are the caller's again afterwards. */
  write(bytes: Buffer): void {
    if (this.#closed) return;
    const rest = this.#queue.length === 0 ? this.#writeNow(bytes) : bytes;
    if (this.#closed || rest.length === 0) return;
    this.#queue.push(Buffer.from(rest));
    this.#watch.change({ writable: true });
  }

  /** No more will come. A pipe is closed after the last byte; a terminal has no half-close. */
  end(): void {
    this.#ended = true;
    if (this.#queue.length === 0 && !this.#terminal) this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#queue = [];
    this.#watch.close();
    close(this.#fd);
  }

  #onWritable(): void {
    for (;;) {
      const first = this.#queue[0];
      if (first === undefined) break;
      const rest = this.#writeNow(first);
      if (this.#closed) return;
      if (rest.length > 0) {
        this.#queue[0] = rest;
        return;
      }
      this.#queue.shift();
    }
    this.#watch.change({});
    if (this.#ended) this.end();
  }

  /** @returns what could not be written now */
  #writeNow(bytes: Buffer): Buffer {
    let rest = bytes;
    while (rest.length > 0) {
      const count = this.#tryWrite(rest);
      if (count === 'again' || count === 'closed') break;
      rest = rest.subarray(count);
      this.#events.delivered(count);
      if (this.#closed) break;
    }
    return rest;
  }

  #tryWrite(bytes: Buffer): number | 'again' | 'closed' {
    try {
      return write(this.#fd, bytes);
    } catch (error) {
      // EPIPE: no reader is left. EIO: the terminal was hung up.
      if (!hasCode(error, 'EPIPE') && !hasCode(error, 'EIO')) throw error;
      this.close();
      this.#events.closed();
      return 'closed';
    }
  }
}
