/**
 * The receiving end of one stream. It takes each byte once and in order, and grants credit as bytes are
 * delivered, which means written to the final descriptor. Pure: frames and calls in, bytes and frames out.
 *
 *    delivered        expected          limit
 *   ────┼────────────────┼────────────────┼────►
 *       │ being written  │ may still come │
 */
import { violation } from './errors.ts';
import { encodeFrame, FrameType } from './frame.ts';
import { MAX_START_OFFSET, TELL_BYTES } from './limits.ts';
import { type Credit, encodeWindow } from './payloads.ts';
import { describeStream } from './streams.ts';

export class ReceiveStream {
  readonly id: number;
  readonly windowBytes: number;
  #expected = 0;
  #delivered = 0;
  #limit: number;
  /** `delivered` as last told to the sender. */
  #told = 0;
  /** `delivered` as told with the present attachment. */
  #attachedAt = 0;
  /** An earlier attachment has sent everything up to its end of file: what others send is discarded. */
  #sealed = false;
  #final: number | undefined;
  #stopped = false;
  #generation = 0;

  constructor(id: number, windowBytes: number) {
    this.id = id;
    this.windowBytes = windowBytes;
    this.#limit = windowBytes;
  }

  get expected(): number {
    return this.#expected;
  }
  get delivered(): number {
    return this.#delivered;
  }
  get final(): number | undefined {
    return this.#final;
  }
  get stopped(): boolean {
    return this.#stopped;
  }
  /** True when everything up to the end was delivered, or nothing more is wanted. */
  get complete(): boolean {
    return this.#final !== undefined && (this.#stopped || this.#delivered >= this.#final);
  }
  /**
   * True when an earlier attachment has ended the stream and all of it was received. The receiver sends
   * `stopFrame()` after such an attach, since another sender may believe that it can write.
   */
  get sealed(): boolean {
    return this.#sealed;
  }
  /** Bytes received and not yet delivered. */
  get held(): number {
    return this.#expected - this.#delivered;
  }

  /**
   * For an attachment with `generation`: where this end stands and what it grants. WINDOW frames that come
   * of `deliver` from now on may be sent behind the ATTACH, before it is answered, and must not be dropped.
   */
  attach(generation: number): Credit {
    this.#generation = generation;
    // Whoever said where the end is says so again. It may have moved down meanwhile: another owner's STOP cuts a
    // stream short. And what was sent of stdin may have been lost, and another may have other bytes.
    if (this.#final !== this.#expected && !this.#stopped) this.#final = undefined;
    this.#told = this.#attachedAt = this.#delivered;
    this.#limit = this.#delivered + this.windowBytes;
    return { delivered: this.#delivered, limit: this.#limit };
  }

  /** For the agent's answer to a client: the client sends from `expected`, since the agent keeps what it holds. */
  answerAttach(generation: number): Credit {
    const { limit } = this.attach(generation);
    if (this.#final === this.#expected) this.#sealed = true;
    return { delivered: this.#expected, limit };
  }

  /** Bytes before `start` were delivered to an earlier owner. */
  startAt(start: number): void {
    if (start > MAX_START_OFFSET) throw violation(`${describeStream(this.id)} starts at ${start}`);
    // Not compared with `delivered`, which may have moved on since it was told.
    if (start < this.#attachedAt) {
      throw violation(`${describeStream(this.id)} starts at ${start}, behind ${this.#attachedAt}`);
    }
    if (start > this.#expected) this.#expected = start;
    if (start > this.#delivered) this.#delivered = start;
  }

  /**
   * DATA has come.
   * @returns the bytes that are new (a view of the payload, possibly empty)
   * @throws RpcError invalid_argument for a gap, bytes beyond the credit, or bytes beyond the end
   */
  data(offset: number, payload: Buffer): Buffer {
    const end = offset + payload.length;
    if (offset > this.#expected)
      throw violation(`gap in ${describeStream(this.id)}: expected ${this.#expected}, got ${offset}`);
    if (end > this.#limit)
      throw violation(`${describeStream(this.id)} sends to ${end} with credit to ${this.#limit}`);
    if (this.#sealed) return payload.subarray(payload.length);
    if (this.#final !== undefined && end > this.#final && !this.#stopped)
      throw violation(`${describeStream(this.id)} sends to ${end} beyond its end ${this.#final}`);
    const known = this.#expected - offset;
    if (known >= payload.length) return payload.subarray(payload.length);
    this.#expected = end;
    if (this.#stopped) {
      this.#delivered = end;
      return payload.subarray(payload.length);
    }
    return known === 0 ? payload : payload.subarray(known);
  }

  /**
   * EOF or EXIT has given the final offset.
   * @returns the last WINDOW frame to send, when everything up to the end is delivered but was not yet told
   * @throws RpcError invalid_argument when it changes, or lies before bytes that were received
   */
  end(final: number): Buffer | undefined {
    if (this.#sealed) return undefined;
    if (this.#stopped) {
      this.#final ??= final;
      return undefined;
    }
    if (this.#final !== undefined && this.#final !== final) {
      throw violation(`the end of ${describeStream(this.id)} moves from ${this.#final} to ${final}`);
    }
    if (final < this.#expected) {
      throw violation(`${describeStream(this.id)} ends at ${final}, received were ${this.#expected}`);
    }
    this.#final = final;
    return this.#window();
  }

  /**
   * `length` more bytes were written to the final descriptor.
   * @returns the WINDOW frame to send now, or undefined while less than a quarter of the window, and less than 64 KiB, is new
   */
  deliver(length: number): Buffer | undefined {
    // After `stop`, and when an earlier owner was ahead, these bytes count as delivered already.
    if (this.#stopped) return undefined;
    this.#delivered = Math.min(this.#delivered + length, this.#expected);
    return this.#window();
  }

  #window(): Buffer | undefined {
    if (this.#generation === 0 || this.#stopped) return undefined;
    const untold = this.#delivered - this.#told;
    if (untold === 0) return undefined;
    if (untold < Math.min(TELL_BYTES, this.windowBytes / 4) && this.#delivered !== this.#final)
      return undefined;
    this.#told = this.#delivered;
    this.#limit = this.#delivered + this.windowBytes;
    return encodeFrame({
      type: FrameType.WINDOW,
      id: this.id,
      generation: this.#generation,
      offset: this.#delivered,
      payload: encodeWindow(this.#limit),
    });
  }

  /** Nothing more is wanted. @returns the STOP frame to send, now and after every attach */
  stop(): Buffer {
    this.#stopped = true;
    this.#delivered = this.#expected;
    return this.stopFrame();
  }

  /** A STOP frame for the present attachment. */
  stopFrame(): Buffer {
    return encodeFrame({ type: FrameType.STOP, id: this.id, generation: this.#generation });
  }
}
