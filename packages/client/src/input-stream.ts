/**
 * stdin of a process as a Writable. What it takes is kept until the process's pipe has it; when a window's
 * worth is kept, writing waits. end() is the end of file for the process.
 */
import { Writable } from 'node:stream';
import { RpcError, type SendStream } from '@coracle/wire';

type Callback = (error?: Error | null) => void;

/** As Node reports writing to a pipe whose reader is gone. */
function brokenPipe(why: string): Error {
  return Object.assign(new Error(`write EPIPE: ${why}`), { code: 'EPIPE', syscall: 'write' });
}

export class InputStream extends Writable {
  readonly #send: SendStream;
  /** Before the first attachment nobody knows at which offset this end begins. */
  #open = false;
  #pending: { chunks: readonly Uint8Array[]; chunk: number; at: number; done: Callback } | undefined;
  #ending: Callback | undefined;
  #broken: Error | undefined;

  constructor(send: SendStream, bufferBytes: number) {
    super({ highWaterMark: bufferBytes });
    this.#send = send;
    // As with outputs: whoever writes learns it from the callback, and wait() tells how the process ended.
    this.on('error', () => undefined);
  }

  /** The agent has said where it goes on. */
  opened(): void {
    this.#open = true;
    if (this.destroyed) this.#send.finish();
    else this.advance();
  }

  /** There is room, or there may be. */
  advance(): void {
    if (!this.#open) return;
    const pending = this.#pending;
    if (pending !== undefined && this.#broken === undefined) {
      for (let chunk = pending.chunks[pending.chunk]; chunk; chunk = pending.chunks[pending.chunk]) {
        const length = Math.min(this.#send.room, chunk.length - pending.at);
        if (length > 0) {
          // A copy: the caller may use its buffer again after the callback, and it is sent until delivered.
          this.#send.push(Buffer.from(chunk.subarray(pending.at, pending.at + length)));
          pending.at += length;
        }
        if (pending.at < chunk.length) return;
        pending.chunk++;
        pending.at = 0;
      }
      this.#settle(null);
    }
    if (this.#ending !== undefined) {
      this.#send.finish();
      process.nextTick(this.#ending);
      this.#ending = undefined;
    }
  }

  /** Nobody reads any more: writes fail with EPIPE, the one under way and each that follows, as on a pipe. */
  broken(why: string): void {
    if (this.#broken !== undefined) return;
    this.#broken = brokenPipe(why);
    if (this.#pending !== undefined) this.#settle(this.#broken);
    this.#endNow();
  }

  /** The process has ended: whoever still feeds this stream is told, also when it writes nothing just now. */
  exited(): void {
    const writing = this.#pending !== undefined;
    this.broken('the process has ended');
    if (!writing && !this.writableEnded) this.destroy(this.#broken);
  }

  /** The process is out of reach. */
  fail(error: RpcError): void {
    this.#broken ??= error;
    if (!this.writableFinished) this.destroy(error);
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Callback): void {
    this.#begin([chunk], done);
  }

  override _writev(chunks: { chunk: Buffer }[], done: Callback): void {
    // Thousands of small writes become one piece: each piece costs memory of its own until it is delivered.
    this.#begin([Buffer.concat(chunks.map(({ chunk }) => chunk))], done);
  }

  override _final(done: Callback): void {
    this.#ending = done;
    if (this.#broken !== undefined) this.#endNow();
    else this.advance();
  }

  override _destroy(error: Error | null, done: Callback): void {
    this.#pending = undefined;
    // As closing a pipe: what was taken arrives, then the end of file.
    if (this.#open) this.#send.finish();
    this.#broken ??= error ?? new RpcError('cancelled', 'stdin was closed');
    done(error);
  }

  #begin(chunks: readonly Uint8Array[], done: Callback): void {
    if (this.#broken !== undefined) {
      done(this.#broken);
      return;
    }
    this.#pending = { chunks, chunk: 0, at: 0, done };
    this.advance();
  }

  /** Later, since `done` runs code of the embedder: what that throws is no fault of the connection. */
  #settle(error: Error | null): void {
    const done = this.#pending?.done;
    this.#pending = undefined;
    if (done !== undefined) process.nextTick(done, error);
  }

  #endNow(): void {
    if (this.#ending !== undefined) process.nextTick(this.#ending);
    this.#ending = undefined;
  }
}
