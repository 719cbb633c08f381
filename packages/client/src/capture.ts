/** A capture of what this program sends and receives: the same file as the proxy's (docs/capture.md). */
import type { Writable } from 'node:stream';
import { finished } from 'node:stream/promises';
import {
  Capture,
  type CaptureContent,
  type Connection,
  Direction,
  type RpcError,
  type SandboxCapture,
} from '@coracle/wire';

export interface CaptureTo {
  /** Gets pcapng. When it does not keep up, records are dropped and counted; no stream is held up. */
  readonly to: Writable;
  /** `digests` unless given: nothing of what is typed, printed or configured. `payload`: all of it. */
  readonly content?: CaptureContent;
}

/** As at the proxy. */
const MAX_QUEUED_BYTES = 16 * 1024 * 1024;
const TICK_MS = 1000;

/** One of a captured connection's ends. */
export interface CapturedConnection {
  bound(): void;
  closed(error: RpcError): void;
}

export class ClientCapture {
  readonly #to: Writable;
  readonly #capture: Capture;
  readonly #ticking: NodeJS.Timeout;
  /** Taps of connections that are open, each with how to take it off. */
  readonly #taps = new Set<() => void>();
  #connections = 0;
  #ended = false;

  constructor({ to, content = 'digests' }: CaptureTo) {
    this.#to = to;
    this.#capture = new Capture({
      content,
      application: '@coracle/client',
      place: 'at the library',
      maxQueuedBytes: MAX_QUEUED_BYTES,
      write: (bytes, taken) => void to.write(bytes, taken),
    });
    // A full disk ends the capture and not the program.
    to.on('error', () => this.#stop());
    this.#ticking = setInterval(() => this.#capture.tick(), TICK_MS);
    this.#ticking.unref();
  }

  /** A connection is being made; each has a number of its own. */
  connection(sandboxId: string, connection: Connection): CapturedConnection | undefined {
    if (this.#ended) return undefined;
    const box: SandboxCapture = this.#capture.sandbox(sandboxId);
    const number = ++this.#connections;
    connection.tap((way, encoded) =>
      box.frame(way === 'in' ? Direction.toClient : Direction.toAgent, number, encoded),
    );
    let isBound = false;
    const off = (): void => connection.tap(undefined);
    this.#taps.add(off);
    return {
      bound: () => {
        isBound = true;
        box.event('client_bound', number, { value: process.pid, text: process.title });
        // The proxy says BOUND when the agent has answered it.
        box.event('link_open');
      },
      closed: (error) => {
        if (!this.#taps.delete(off) || !isBound) return;
        box.event('client_closed', number, { code: error.number, text: error.reason });
      },
    };
  }

  async end(): Promise<void> {
    if (this.#ended) return;
    this.#stop();
    this.#capture.close();
    this.#to.end();
    await finished(this.#to);
  }

  #stop(): void {
    this.#ended = true;
    clearInterval(this.#ticking);
    for (const off of this.#taps) off();
    this.#taps.clear();
  }
}
