/** The last bytes of each stream, for whoever opens one; the streams that moved last are kept. */
import { StreamBytes } from '../model/stream-bytes.ts';
import type { RecordView } from '../read/record-view.ts';

/** Of one stream; a terminal's whole screen, many times over. */
const KEPT_BYTES = 128 * 1024;
const MOST_STREAMS = 256;

export class StreamTail {
  readonly #bytes = new StreamBytes();
  #chunks: Buffer[] = [];
  #kept = 0;
  /** In the stream, of the end of what is kept. */
  end = 0;

  /** In the stream, of the first byte that is kept. */
  get start(): number {
    return this.end - this.#kept;
  }

  take(record: RecordView): void {
    for (const piece of this.#bytes.take(record)) {
      if (piece.kind !== 'bytes') continue;
      // A gap: what was before it does not go on here.
      if (piece.offset !== this.end) this.#clear();
      this.#chunks.push(Buffer.from(piece.bytes));
      this.#kept += piece.bytes.length;
      this.end = piece.offset + piece.bytes.length;
    }
    while (this.#kept > KEPT_BYTES && this.#chunks.length > 1)
      this.#kept -= (this.#chunks.shift() as Buffer).length;
  }

  /** From an offset in the stream on, as far as it is kept. */
  from(offset: number): Buffer {
    const all = Buffer.concat(this.#chunks);
    return all.subarray(Math.max(0, offset - this.start));
  }

  /** As it is now, whatever comes. */
  copy(): StreamTail {
    const copy = new StreamTail();
    copy.#chunks = [...this.#chunks];
    copy.#kept = this.#kept;
    copy.end = this.end;
    return copy;
  }

  #clear(): void {
    this.#chunks = [];
    this.#kept = 0;
  }
}

export class Contents {
  /** The one that moved last is the last. */
  readonly #streams = new Map<string, StreamTail>();

  take(record: RecordView): void {
    if (record.redacted || record.id % 4 === 0) return;
    const key = contentKey(record.sandbox, record.id);
    const tail = this.#streams.get(key) ?? new StreamTail();
    this.#streams.delete(key);
    this.#streams.set(key, tail);
    tail.take(record);
    if (this.#streams.size > MOST_STREAMS) this.#streams.delete(this.#streams.keys().next().value as string);
  }

  of(sandbox: string, streamId: number): StreamTail | undefined {
    return this.#streams.get(contentKey(sandbox, streamId));
  }
}

function contentKey(sandbox: string, streamId: number): string {
  return `${sandbox} ${streamId}`;
}
