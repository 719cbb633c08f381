/**
 * The decoder: bytes in, preambles and frames out. No sockets, no timers. Work is proportional to the
 * bytes however they are cut: a frame that is whole within a chunk is handed out as a view of the chunk,
 * a frame that is cut is put together in memory of its own, each byte copied once.
 *
 * A payload that is a view of the chunk holds as long as the chunk's owner leaves it alone.
 */
import { violation } from './errors.ts';
import { type Frame, type Header, readHeader, TRAILER } from './frame.ts';
import { HEADER_BYTES, MAX_FRAME_BYTES, MAX_SKIPPED_BYTES, TRAILER_BYTES } from './limits.ts';
import { decodePreamble, MAGIC, PREAMBLE_BYTES, type Preamble } from './preamble.ts';

export interface DecoderEvents {
  /** A preamble was read; false: it is not the one that is waited for, go on looking. */
  preamble(preamble: Preamble): boolean;
  frame(frame: Frame): void;
}

export interface DecoderOptions {
  /**
   * Answerers look for a preamble again after zeros and torn frames, since the peer may have been replaced
   * in the middle of a frame. For openers both break the rules.
   */
  readonly resynchronise: boolean;
  /**
   * Frames that come in pieces are put together in the same memory again and again: a frame holds only until
   * its event handler returns. New memory for each costs many times what copying costs.
   */
  readonly reuseMemory?: boolean;
}

const MAGIC_WORD = MAGIC.readUInt32LE(0);
const NONE = Buffer.alloc(0);

export class Decoder {
  readonly #events: DecoderEvents;
  readonly #resynchronise: boolean;
  /** Scanning: looking for a preamble, everything else is skipped. */
  #scanning = true;
  /** While scanning: the last bytes, in which a preamble may have begun. */
  #tail: Buffer = NONE;
  /** Start of a header that is not yet whole. */
  readonly #head = Buffer.alloc(HEADER_BYTES);
  #headLength = 0;
  /** A frame that is being put together, from its header to its trailer. */
  #header: Header | undefined;
  #encoded: Buffer = NONE;
  #filled = 0;
  readonly #reuseMemory: boolean;
  #memory: Buffer | undefined;
  /** Bytes skipped while scanning, for diagnosis. */
  skippedBytes = 0;

  constructor(events: DecoderEvents, options: DecoderOptions) {
    this.#events = events;
    this.#resynchronise = options.resynchronise;
    this.#reuseMemory = options.reuseMemory ?? false;
  }

  /** @throws RpcError invalid_argument when the bytes break the rules; the connection must end then */
  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#scanning) at = this.#scan(chunk, at);
      else if (this.#header !== undefined) at = this.#continueFrame(chunk, at);
      else at = this.#startFrame(chunk, at);
    }
  }

  #scan(chunk: Buffer, from: number): number {
    // At most 63 bytes are carried over, so the copy is proportional to the chunk.
    const carried = this.#tail.length;
    const bytes = carried === 0 ? chunk.subarray(from) : Buffer.concat([this.#tail, chunk.subarray(from)]);
    let at = 0;
    for (;;) {
      const found = bytes.indexOf(MAGIC, at);
      if (found < 0) {
        this.#keepTail(bytes, Math.max(at, bytes.length - (MAGIC.length - 1)));
        return chunk.length;
      }
      if (found + PREAMBLE_BYTES > bytes.length) {
        this.#keepTail(bytes, found);
        return chunk.length;
      }
      const preamble = decodePreamble(bytes.subarray(found, found + PREAMBLE_BYTES));
      if (this.#events.preamble(preamble)) {
        this.skippedBytes += found;
        this.#scanning = false;
        this.#tail = NONE;
        return from + found + PREAMBLE_BYTES - carried;
      }
      at = found + 1;
    }
  }

  #keepTail(bytes: Buffer, from: number): void {
    this.skippedBytes += from;
    if (!this.#resynchronise && this.skippedBytes > MAX_SKIPPED_BYTES)
      throw violation(`no preamble within ${MAX_SKIPPED_BYTES} bytes`);
    this.#tail = Buffer.from(bytes.subarray(from));
  }

  /** From here on only a preamble is taken; it may have begun in `start`, bytes that were already read. */
  #startScanning(start: Buffer): void {
    this.#scanning = true;
    this.#tail = NONE;
    this.push(Buffer.from(start));
  }

  #startFrame(chunk: Buffer, at: number): number {
    let head = chunk;
    let headAt = at;
    let next = at + HEADER_BYTES;
    if (this.#headLength > 0 || next > chunk.length) {
      const taken = Math.min(HEADER_BYTES - this.#headLength, chunk.length - at);
      chunk.copy(this.#head, this.#headLength, at, at + taken);
      this.#headLength += taken;
      next = at + taken;
      if (this.#headLength < HEADER_BYTES) return next;
      this.#headLength = 0;
      head = this.#head;
      headAt = 0;
    }
    const lengthWord = head.readUInt32LE(headAt);
    // Type 0 is no frame whatever the length: a frame that was cut within its length, or before its type,
    // and filled up with zeros.
    if (lengthWord === MAGIC_WORD || head.readUInt32LE(headAt + 4) === 0) {
      if (!this.#resynchronise) throw violation('a preamble or zeros where a frame was expected');
      this.#startScanning(head.subarray(headAt, headAt + HEADER_BYTES));
      return next;
    }
    const header = readHeader(head, headAt);
    const end = next + header.length + TRAILER_BYTES;
    if (end <= chunk.length && head === chunk) {
      this.#finish(header, chunk.subarray(at, end));
      return end;
    }
    this.#header = header;
    this.#encoded = this.#memoryFor(HEADER_BYTES + header.length + TRAILER_BYTES);
    this.#filled = head.copy(this.#encoded, 0, headAt, headAt + HEADER_BYTES);
    return next;
  }

  #memoryFor(bytes: number): Buffer {
    if (!this.#reuseMemory) return Buffer.allocUnsafe(bytes);
    this.#memory ??= Buffer.allocUnsafeSlow(MAX_FRAME_BYTES);
    return this.#memory.subarray(0, bytes);
  }

  #continueFrame(chunk: Buffer, at: number): number {
    const taken = Math.min(this.#encoded.length - this.#filled, chunk.length - at);
    chunk.copy(this.#encoded, this.#filled, at, at + taken);
    this.#filled += taken;
    if (this.#filled === this.#encoded.length) {
      const header = this.#header as Header;
      const encoded = this.#encoded;
      this.#header = undefined;
      this.#encoded = NONE;
      this.#finish(header, encoded);
    }
    return at + taken;
  }

  #finish(header: Header, encoded: Buffer): void {
    const payloadEnd = HEADER_BYTES + header.length;
    if (encoded.readUInt32LE(payloadEnd) !== TRAILER) {
      if (!this.#resynchronise) throw violation('a frame with a wrong trailer');
      this.#startScanning(encoded);
      return;
    }
    this.#events.frame({
      type: header.type,
      flags: header.flags,
      id: header.id,
      generation: header.generation,
      offset: header.offset,
      payload: encoded.subarray(HEADER_BYTES, payloadEnd),
      encoded,
    });
  }
}
