/**
 * Frames that wait in the proxy for one peer, forwarded as they came. A frame is a view of what a socket read,
 * 64 KiB at most: kept as it is, one of 28 bytes would hold on to all of that. So small ones that have to wait are
 * put behind each other in memory of the queue's own, and leave together: memory is at most twice the bytes.
 */
import { type FrameSource, MAX_FRAME_BYTES } from '@coracle/wire';

export type Priority = 'control' | 'urgent' | 'bulk';

const LEAST_BLOCK_BYTES = 2048;
const NO_BLOCK = Buffer.alloc(0);

export class DataQueue implements FrameSource {
  readonly control: boolean;
  readonly urgent: boolean;
  /** Each a whole frame, or several that were joined, at most as large as the largest frame. */
  #frames: Buffer[] = [];
  /** Frames before this index were sent: taking from the front must not move the rest each time. */
  #first = 0;
  #bytes = 0;
  /** Where small frames are joined; from `#blockFrom` to `#blockFilled` it is the last entry of `#frames`. */
  #block = NO_BLOCK;
  #blockFrom = 0;
  #blockFilled = 0;
  readonly #onChange: (bytes: number) => void;

  /** `onChange` is called with the bytes that were added, or with what has left as a negative number. */
  constructor(priority: Priority, onChange: (bytes: number) => void) {
    this.control = priority === 'control';
    this.urgent = priority === 'urgent';
    this.#onChange = onChange;
  }

  get bytes(): number {
    return this.#bytes;
  }

  push(frame: Buffer): void {
    this.#bytes += frame.length;
    if (frame.length * 2 >= frame.buffer.byteLength) this.#frames.push(frame);
    else this.#join(frame);
    this.#onChange(frame.length);
  }

  #join(frame: Buffer): void {
    const last = this.#frames.length > this.#first ? this.#frames.at(-1) : undefined;
    const extend =
      last !== undefined &&
      last.buffer === this.#block.buffer &&
      last.length + frame.length <= MAX_FRAME_BYTES;
    if (this.#block.length - this.#blockFilled < frame.length) {
      // Grows with what waits: a lone keystroke takes little, a flood few blocks.
      const wanted = Math.min(MAX_FRAME_BYTES, Math.max(LEAST_BLOCK_BYTES, frame.length, 2 * this.#bytes));
      this.#block = Buffer.allocUnsafeSlow(wanted);
      this.#blockFrom = this.#blockFilled = 0;
    } else if (!extend) this.#blockFrom = this.#blockFilled;
    frame.copy(this.#block, this.#blockFilled);
    this.#blockFilled += frame.length;
    const joined = this.#block.subarray(this.#blockFrom, this.#blockFilled);
    if (extend && joined.length > frame.length) this.#frames[this.#frames.length - 1] = joined;
    else this.#frames.push(joined);
  }

  pull(): Buffer | undefined {
    const frame = this.#frames[this.#first];
    if (frame === undefined) return undefined;
    this.#first++;
    if (this.#first === this.#frames.length) {
      this.#frames = [];
      this.#first = 0;
      this.#block = NO_BLOCK;
      this.#blockFrom = this.#blockFilled = 0;
    } else if (this.#first > 1024) {
      this.#frames = this.#frames.slice(this.#first);
      this.#first = 0;
    }
    this.#bytes -= frame.length;
    this.#onChange(-frame.length);
    return frame;
  }

  /** Whoever sent them, or was to get them, has gone: both ends say again what they need. */
  clear(): void {
    const bytes = this.#bytes;
    this.#frames = [];
    this.#first = this.#bytes = 0;
    this.#block = NO_BLOCK;
    this.#blockFrom = this.#blockFilled = 0;
    if (bytes > 0) this.#onChange(-bytes);
  }
}
