/** The bytes of one stream in order, each once: repeated frames are taken once, and what is missing is said. */
import { FrameType } from '@coracle/wire';
import type { RecordView } from '../read/record-view.ts';

export type StreamPiece =
  | { readonly kind: 'bytes'; readonly offset: number; readonly bytes: Buffer; readonly timeNs: number }
  /** They crossed, and the capture does not hold them. */
  | { readonly kind: 'left out'; readonly offset: number; readonly length: number; readonly timeNs: number }
  /** They never crossed while it was captured. */
  | { readonly kind: 'missing'; readonly offset: number; readonly length: number; readonly timeNs: number }
  | { readonly kind: 'end'; readonly offset: number; readonly timeNs: number };

export class StreamBytes {
  #next: number | undefined;
  #ended = false;

  /** Takes a frame of the stream, DATA or EOF; `bytes` of what it returns hold until the next one. */
  take(record: RecordView): StreamPiece[] {
    if (record.unowned) return [];
    const { offset, length, timeNs } = record;
    if (record.type === FrameType.EOF) {
      if (this.#ended) return [];
      this.#ended = true;
      return [{ kind: 'end', offset, timeNs }];
    }
    if (record.type !== FrameType.DATA) return [];
    const pieces: StreamPiece[] = [];
    const next = this.#next ?? 0;
    if (offset > next) pieces.push({ kind: 'missing', offset: next, length: offset - next, timeNs });
    const known = Math.min(length, Math.max(0, next - offset));
    if (known === length) return [];
    this.#next = offset + length;
    const from = offset + known;
    pieces.push(
      record.payload.length === length
        ? { kind: 'bytes', offset: from, bytes: record.payload.subarray(known), timeNs }
        : { kind: 'left out', offset: from, length: length - known, timeNs },
    );
    return pieces;
  }
}
