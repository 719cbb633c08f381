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
  /** Bytes received and not yet delivered. */
  get held(): number {
    return this.#expected - this.#delivered;
  }

  /** For an attachment with `generation`: where this end stands and what it grants. */
  attach(generation: number): Credit {
    this.#generation = generation;
    this.#told = this.#delivered;
    this.#limit = this.#delivered + this.windowBytes;
    return { delivered: this.#delivered, limit: this.#limit };
  }

  /** For the agent's answer to a client: the client sends from `expected`, since the agent keeps what it holds. */
  answerAttach(generation: number): Credit {
    const { limit } = this.attach(generation);
    return { delivered: this.#expected, limit };
  }

  /** Bytes before `start` were delivered to an earlier owner. */
  startAt(start: number): void {
    if (start < this.#delivered) {
      throw violation(`${describeStream(this.id)} starts at ${start}, behind ${this.#delivered}`);
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
    if (this.#final !== undefined && end > this.#final)
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
   * @throws RpcError invalid_argument when it changes, or lies before bytes that were received
   */
  end(final: number): void {
    if (this.#final !== undefined && this.#final !== final) {
      throw violation(`the end of ${describeStream(this.id)} moves from ${this.#final} to ${final}`);
    }
    if (final < this.#expected && !this.#stopped) {
      throw violation(`${describeStream(this.id)} ends at ${final}, received were ${this.#expected}`);
    }
    this.#final = final;
  }

  /**
   * `length` more bytes were written to the final descriptor.
   * @returns the WINDOW frame to send now, or undefined while less than a quarter of the window is new
   */
  deliver(length: number): Buffer | undefined {
    this.#delivered += length;
    if (this.#generation === 0 || this.#stopped) return undefined;
    const untold = this.#delivered - this.#told;
    if (untold === 0) return undefined;
    if (untold * 4 < this.windowBytes && this.#delivered !== this.#final) return undefined;
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
    return encodeFrame({ type: FrameType.STOP, id: this.id, generation: this.#generation });
  }
}
