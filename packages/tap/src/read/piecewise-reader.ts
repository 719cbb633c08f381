/** Reads a capture that comes in pieces, cut anywhere. */
import { CaptureReader, type ReaderEvents } from './capture-reader.ts';

const NOTHING = Buffer.alloc(0);

export class PiecewiseReader {
  readonly reader: CaptureReader;
  #rest: Buffer = NOTHING;

  constructor(events: ReaderEvents) {
    this.reader = new CaptureReader(events);
  }

  take(piece: Buffer): void {
    this.#push(piece, false);
  }

  /** What was cut never comes: whoever has sent it is gone, and a new section follows. */
  cut(): void {
    this.#push(NOTHING, true);
  }

  #push(piece: Buffer, last: boolean): void {
    const bytes = this.#rest.length === 0 ? piece : Buffer.concat([this.#rest, piece]);
    this.#rest = bytes.subarray(this.reader.push(bytes, last));
  }
}
