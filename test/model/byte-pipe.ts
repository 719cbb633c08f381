/**
 * A connection as two queues of bytes. Bytes move only when the story says so, as many as it says, so that a
 * frame may be cut at any byte; and an end that is killed takes nothing and says nothing any more.
 */
import { Duplex } from 'node:stream';

type Done = (error?: Error | null) => void;

/** One direction: what was written and has not arrived. Writers wait while more than a socket's buffer is in it. */
export class Lane {
  #chunks: Buffer[] = [];
  #bytes = 0;
  #waiting: Done[] = [];
  /** What is in it still arrives, then the end of file. */
  ended = false;
  readonly #capacityBytes: number;

  constructor(capacityBytes: number) {
    this.#capacityBytes = capacityBytes;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Copies: the writer may use its memory again once `done` is called. */
  put(chunk: Buffer, done: Done): void {
    if (this.ended) {
      done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
      return;
    }
    this.#chunks.push(Buffer.from(chunk));
    this.#bytes += chunk.length;
    this.#waiting.push(done);
    this.#release();
  }

  take(mostBytes: number): Buffer {
    const taken: Buffer[] = [];
    let left = mostBytes;
    for (let chunk = this.#chunks[0]; chunk !== undefined && left > 0; chunk = this.#chunks[0]) {
      const part = chunk.subarray(0, left);
      taken.push(part);
      left -= part.length;
      if (part.length === chunk.length) this.#chunks.shift();
      else this.#chunks[0] = chunk.subarray(part.length);
    }
    this.#bytes -= mostBytes - left;
    this.#release();
    return Buffer.concat(taken);
  }

  /** All but the first `bytes` are lost. */
  keep(bytes: number): void {
    const kept = this.take(bytes);
    this.#chunks = kept.length > 0 ? [kept] : [];
    this.#bytes = kept.length;
    this.#release();
  }

  #release(): void {
    while (this.#waiting.length > 0 && (this.ended || this.#bytes <= this.#capacityBytes)) {
      this.#waiting.shift()?.(null);
    }
  }

  end(): void {
    this.ended = true;
    this.#release();
  }
}

/** One end of a connection, as the product gets it in place of a socket. */
export class End extends Duplex {
  readonly input: Lane;
  readonly output: Lane;
  #killed = false;
  #eof = false;

  constructor(input: Lane, output: Lane) {
    super({ allowHalfOpen: false });
    this.input = input;
    this.output = output;
    this.on('error', () => undefined);
  }

  /** Up to `mostBytes` arrive, or the end of file. @returns whether anything did */
  arrive(mostBytes: number): boolean {
    if (this.#killed || this.destroyed || this.#eof || this.isPaused()) return false;
    const bytes = this.input.take(mostBytes);
    if (bytes.length > 0) {
      this.push(bytes);
      return true;
    }
    if (!this.input.ended || mostBytes === 0) return false;
    this.#eof = true;
    this.push(null);
    return true;
  }

  /** Its program was killed: what it has written still arrives at the peer, up to `keepBytes`. */
  kill(keepBytes: number): void {
    this.#killed = true;
    this.input.end();
    this.input.keep(0);
    this.output.end();
    this.output.keep(keepBytes);
  }

  /** The connection breaks for both; of what is under way the first bytes still arrive. */
  cut(keepInBytes: number, keepOutBytes: number): void {
    // First the end: a writer that waits must not write behind what is lost.
    this.input.end();
    this.input.keep(keepInBytes);
    this.output.end();
    this.output.keep(keepOutBytes);
  }

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: Done): void {
    if (!this.#killed) this.output.put(chunk, done);
  }

  override _final(done: Done): void {
    if (!this.#killed) this.output.end();
    done();
  }

  override _destroy(error: Error | null, done: Done): void {
    if (!this.#killed) {
      this.output.end();
      this.input.end();
      this.input.keep(0);
    }
    done(error);
  }
}

/** Small enough that writers meet a full socket now and then. */
const SOCKET_BYTES = 16 * 1024;

export function connectionPair(): [End, End] {
  const there = new Lane(SOCKET_BYTES);
  const back = new Lane(SOCKET_BYTES);
  return [new End(back, there), new End(there, back)];
}

/** What connecting gives when nobody listens. */
export function refusedConnection(): End {
  const [end] = connectionPair();
  end.destroy(Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' }));
  return end;
}
