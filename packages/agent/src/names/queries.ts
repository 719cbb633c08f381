/** Queries that were handed to the host, until their answer comes or their time is over. */
import { NAME_LIMITS } from '../limits.ts';
import { type Kind, MESSAGE_MIN_BYTES, type NameRecord } from './records.ts';

interface Query {
  /** The first 16 bits of its message: an answer has the same. */
  readonly id: number;
  /** Undefined: none has come. */
  readonly done: (answer: Buffer | undefined) => void;
  readonly timer: NodeJS.Timeout;
}

export class Queries {
  readonly #send: (record: NameRecord) => boolean;
  readonly #limits: typeof NAME_LIMITS;
  readonly #waiting = new Map<number, Query>();
  #last = 0;

  /** @param send false: there is no room for it now */
  constructor(send: (record: NameRecord) => boolean, limits = NAME_LIMITS) {
    this.#send = send;
    this.#limits = limits;
  }

  /** `done` is called once, unless the query cannot be taken: that is false. */
  ask(kind: Kind, message: Buffer, done: Query['done']): boolean {
    const { maxQueries, answerMs } = this.#limits;
    if (message.length < MESSAGE_MIN_BYTES || this.#waiting.size >= maxQueries) return false;
    const number = this.#freeNumber();
    if (!this.#send({ number, kind, message })) return false;
    const timer = setTimeout(() => this.#end(number, undefined), answerMs);
    this.#waiting.set(number, { id: message.readUInt16BE(), done, timer });
    return true;
  }

  /** What nobody waits for any more is dropped. */
  answer({ number, message }: NameRecord): void {
    if (this.#waiting.get(number)?.id === message.readUInt16BE()) this.#end(number, message);
  }

  dispose(): void {
    for (const number of [...this.#waiting.keys()]) this.#end(number, undefined);
  }

  #end(number: number, answer: Buffer | undefined): void {
    const query = this.#waiting.get(number);
    if (query === undefined) return;
    this.#waiting.delete(number);
    clearTimeout(query.timer);
    query.done(answer);
  }

  /** One that was used long ago: a late answer to another query must not be taken for this one's. */
  #freeNumber(): number {
    do this.#last = (this.#last + 1) & 0xffff;
    while (this.#waiting.has(this.#last));
    return this.#last;
  }
}
