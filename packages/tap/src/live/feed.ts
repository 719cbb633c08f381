/** The live capture, read as it comes: flows, and with payload the last bytes of each stream. */
import { type CaptureContent, FrameType } from '@coracle/wire';
import { Diagnoser } from '../diagnose/diagnose.ts';
import { PiecewiseReader } from '../read/piecewise-reader.ts';
import { captureFromProxy } from '../record/proxy-capture.ts';
import { Contents } from './contents.ts';

export interface FeedOptions {
  readonly socketPath: string;
  /** None: all. */
  readonly sandboxes: readonly string[];
  readonly payload: boolean;
}

/** `lost`: a proxy was there, and is gone. */
export type FeedState = 'waiting' | 'capturing' | 'lost';

export class Feed {
  readonly socketPath: string;
  readonly payload: boolean;
  readonly diagnoser = new Diagnoser();
  readonly contents = new Contents();
  readonly #options: FeedOptions;
  readonly #pieces: PiecewiseReader;
  state: FeedState = 'waiting';
  /** Proxies that have answered. */
  proxies = 0;
  dropped = 0;
  /** When the capture's time was read last: its own clock, and ours. */
  #readNs = 0;
  #readMs = performance.now();

  constructor(options: FeedOptions) {
    this.#options = options;
    this.socketPath = options.socketPath;
    this.payload = options.payload;
    const { flows } = this.diagnoser;
    this.#pieces = new PiecewiseReader({
      record: (record) => {
        flows.take(record);
        if (options.payload && record.type === FrameType.DATA) this.contents.take(record);
      },
      counters: (counters) => {
        this.dropped += counters.newlyDropped;
        flows.counters(counters);
      },
    });
  }

  get startNs(): bigint {
    return this.#pieces.reader.startNs;
  }
  get records(): number {
    return this.#pieces.reader.records;
  }
  /** Now, in the capture's time: it tells the time only as often as something happens. */
  get nowNs(): number {
    return this.#readNs + (performance.now() - this.#readMs) * 1e6;
  }

  /** Until the signal says so. @throws TapError refused */
  async run(signal: AbortSignal): Promise<void> {
    const content: CaptureContent = this.payload ? 'payload' : 'headers';
    const capture = captureFromProxy({
      socketPath: this.socketPath,
      content,
      sandboxes: this.#options.sandboxes,
      signal,
      onState: (state) => this.#state(state),
    });
    for await (const chunk of capture) this.#take(chunk);
  }

  #state(state: 'waiting' | 'capturing'): void {
    // What a killed proxy has not sent whole never comes.
    this.#pieces.cut();
    if (state === 'capturing') this.proxies++;
    this.state = state === 'waiting' && this.proxies > 0 ? 'lost' : state;
  }

  #take(chunk: Buffer): void {
    this.#pieces.take(chunk);
    const { endNs } = this.#pieces.reader;
    if (endNs <= this.#readNs) return;
    this.#readNs = this.#readNs === 0 ? endNs : Math.max(endNs, this.nowNs);
    this.#readMs = performance.now();
  }
}
