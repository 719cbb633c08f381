/** DATA frames that wait in the proxy for one peer, forwarded as they came. */
import type { FrameSource } from '@coracle/wire';

export class DataQueue implements FrameSource {
  readonly urgent: boolean;
  #frames: Buffer[] = [];
  /** Frames before this index were sent: taking from the front must not move the rest each time. */
  #first = 0;
  #bytes = 0;
  readonly #onDrain: () => void;

  /** `onDrain` is called after each frame that leaves. */
  constructor(urgent: boolean, onDrain: () => void) {
    this.urgent = urgent;
    this.#onDrain = onDrain;
  }

  get bytes(): number {
    return this.#bytes;
  }

  push(frame: Buffer): void {
    this.#frames.push(frame);
    this.#bytes += frame.length;
  }

  pull(): Buffer | undefined {
    const frame = this.#frames[this.#first];
    if (frame === undefined) return undefined;
    this.#first++;
    if (this.#first === this.#frames.length || this.#first > 1024) {
      this.#frames = this.#frames.slice(this.#first);
      this.#first = 0;
    }
    this.#bytes -= frame.length;
    this.#onDrain();
    return frame;
  }
}
