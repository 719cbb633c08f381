/**
 * One stream as the capture shows it: what its sender has sent, what its receiver has delivered and allowed
 * (docs/protocol.md, section 3). A field is undefined until a frame has told it: captures begin anywhere.
 */
import type { StreamKindName } from './names.ts';

/** When, and which frame shows it. */
export interface Seen {
  readonly number: number;
  readonly timeNs: number;
}

/** The text of a stream_state event. */
export interface StreamStateText {
  readonly sent: number;
  readonly delivered: number;
  readonly limit: number | undefined;
  readonly stalledForMs: number | undefined;
}

/** @returns undefined for what is no such text */
export function readStreamState(text: string): StreamStateText | undefined {
  try {
    const { sent, delivered, limit, stalledForMs } = JSON.parse(text);
    const numbers = [sent, delivered, limit ?? 0, stalledForMs ?? 0];
    return numbers.every((one) => Number.isSafeInteger(one) && one >= 0)
      ? { sent, delivered, limit, stalledForMs }
      : undefined;
  } catch {
    return undefined;
  }
}

export class StreamFlow {
  readonly id: number;
  readonly kind: StreamKindName;
  /** The end of what was sent. */
  next: number | undefined;
  /** What the receiver has delivered, as far as it has said. */
  delivered: number | undefined;
  /** What may be sent. */
  limit: number | undefined;
  /** From EOF or EXIT. */
  final: number | undefined;
  /** The receiver wants no more. */
  stopped: Seen | undefined;
  ended: Seen | undefined;
  frames = 0;
  /** Each byte once. */
  bytes = 0;
  repeatedBytes = 0;
  first: Seen | undefined;
  lastData: Seen | undefined;
  lastWindow: Seen | undefined;
  /** Since when everything that may be sent was sent, and nothing more. */
  blocked: Seen | undefined;
  blockedNs = 0;
  longestBlockNs = 0;
  blocks = 0;
  /** From a byte until it is said to be delivered: the longest and all of those that were measured. */
  longestTripNs = 0;
  lastTripNs = 0;
  tripNs = 0;
  trips = 0;
  #measured: { readonly end: number; readonly timeNs: number } | undefined;
  /** The end of what was ever sent. */
  #highest = 0;

  constructor(id: number, kind: StreamKindName) {
    this.id = id;
    this.kind = kind;
  }

  get undelivered(): number {
    return this.next === undefined ? 0 : Math.max(0, this.next - (this.delivered ?? 0));
  }
  get highest(): number {
    return this.#highest;
  }
  /** Everything has arrived, or is not wanted. */
  get complete(): boolean {
    return this.stopped !== undefined || (this.final !== undefined && (this.delivered ?? 0) >= this.final);
  }

  /** @returns which rule it breaks */
  data(offset: number, length: number, seen: Seen): string | undefined {
    const end = offset + length;
    this.frames++;
    this.first ??= seen;
    this.lastData = seen;
    const known = Math.max(0, Math.min(length, this.#highest - offset));
    this.repeatedBytes += known;
    this.bytes += length - known;
    let problem: string | undefined;
    if (this.next !== undefined && offset > this.next)
      problem = `begins at ${offset} where ${this.next} comes next: bytes are missing`;
    else if (this.limit !== undefined && end > this.limit)
      problem = `goes to ${end}, and may go to ${this.limit} only`;
    else if (this.final !== undefined && end > this.final && this.stopped === undefined)
      problem = `goes to ${end}, beyond the stream's end at ${this.final}`;
    this.next = Math.max(this.next ?? 0, end);
    this.#highest = Math.max(this.#highest, end);
    this.#measured ??= { end, timeNs: seen.timeNs };
    if (this.limit !== undefined && this.next >= this.limit) this.blocked ??= seen;
    return problem;
  }

  /** @returns which rule it breaks */
  window(delivered: number, limit: number, seen: Seen): string | undefined {
    let problem: string | undefined;
    if (this.next !== undefined && delivered > Math.max(this.#highest, this.next))
      problem = `says that ${delivered} were delivered where ${this.#highest} were sent`;
    else if (this.limit !== undefined && limit < this.limit)
      problem = `allows ${limit} where ${this.limit} were allowed before`;
    this.lastWindow = seen;
    this.delivered = Math.max(this.delivered ?? 0, delivered);
    this.limit = limit;
    const measured = this.#measured;
    if (measured !== undefined && delivered >= measured.end) {
      const tripNs = seen.timeNs - measured.timeNs;
      this.trips++;
      this.tripNs += tripNs;
      this.lastTripNs = tripNs;
      this.longestTripNs = Math.max(this.longestTripNs, tripNs);
      this.#measured = undefined;
    }
    if (this.next === undefined || this.next < limit) this.#unblock(seen);
    return problem;
  }

  /** The stream's end has been said. @returns which rule it breaks */
  end(final: number, seen: Seen): string | undefined {
    const before = this.final;
    this.final = final;
    this.ended ??= seen;
    if (this.next !== undefined && this.next >= final) this.#unblock(seen);
    if (before !== undefined && before !== final && this.stopped === undefined)
      return `ends at ${final}, and was said to end at ${before}`;
    return undefined;
  }

  stop(seen: Seen): void {
    this.stopped ??= seen;
    this.#unblock(seen);
  }

  /** A new attachment: the sender goes on from `start`. */
  attach(start: number, credit: { readonly delivered?: number; readonly limit?: number }, seen: Seen): void {
    this.#unblock(seen);
    this.next = start;
    this.#highest = Math.max(this.#highest, start);
    this.final = undefined;
    this.#measured = undefined;
    if (credit.delivered !== undefined) this.delivered = Math.max(this.delivered ?? 0, credit.delivered);
    if (credit.limit !== undefined) this.limit = credit.limit;
  }

  /** As it stood when the capture began. */
  begin({ sent, delivered, limit, stalledForMs }: StreamStateText, seen: Seen): void {
    this.next = sent;
    this.#highest = Math.max(this.#highest, sent);
    this.delivered = Math.max(this.delivered ?? 0, delivered);
    this.limit = limit;
    if (stalledForMs !== undefined) this.blocked = { ...seen, timeNs: seen.timeNs - stalledForMs * 1e6 };
  }

  /** Records are missing: what was known may be wrong. */
  forget(): void {
    this.next = this.limit = undefined;
    this.blocked = undefined;
    this.#measured = undefined;
  }

  #unblock(seen: Seen): void {
    if (this.blocked === undefined) return;
    const ns = seen.timeNs - this.blocked.timeNs;
    this.blocks++;
    this.blockedNs += ns;
    this.longestBlockNs = Math.max(this.longestBlockNs, ns);
    this.blocked = undefined;
  }
}
