/** A transport in memory: bytes go in at once, what comes out is decoded and has to be whole, valid frames. */
import type { Socket } from 'node:net';
import { Duplex } from 'node:stream';
import { Decoder, type Frame, FrameType, type Preamble } from '@coracle/wire';
import { must } from './target.ts';

export class MemoryTransport extends Duplex {
  /** What the other end has read. */
  readonly preambles: Preamble[] = [];
  readonly frames: Frame[] = [];
  readonly #decoder = new Decoder(
    {
      preamble: (preamble) => {
        this.preambles.push(preamble);
        return true;
      },
      frame: (frame) => {
        must(this.goaway === undefined, 'nothing follows GOAWAY');
        this.frames.push({ ...frame, payload: Buffer.from(frame.payload) });
        this.onFrame?.(frame);
      },
    },
    { resynchronise: false },
  );
  onFrame: ((frame: Frame) => void) | undefined;

  get goaway(): Frame | undefined {
    const last = this.frames.at(-1);
    return last?.type === FrameType.GOAWAY ? last : undefined;
  }

  override _read(): void {}

  override _write(chunk: Buffer, _: BufferEncoding, done: () => void): void {
    this.#decoder.push(Buffer.from(chunk));
    done();
  }

  /** Bytes from the other end, at once: a crash then has them on its stack. */
  receive(bytes: Buffer): void {
    this.emit('data', bytes);
  }

  /** What connections use of a socket, a stream has too. */
  asSocket(): Socket {
    return this as unknown as Socket;
  }
}

/** Lets everything run that was put off to the end of this turn. */
export function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
