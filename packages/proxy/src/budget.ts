/**
 * Memory that clients share: how much waits for them in all. When that is too much, whoever has most of it is cut
 * off; its sandbox's agent keeps what it has not delivered, so it loses nothing but its connection.
 */
export interface Holder {
  /** Bytes that wait for it. */
  readonly queuedBytes: number;
  cutOff(limitBytes: number, whose: string): void;
}

export class QueueBudget {
  readonly #limitBytes: number;
  readonly #whose: string;
  readonly #holders: () => Iterable<Holder>;
  #bytes = 0;

  /** @param whose for the message: "this sandbox's clients" */
  constructor(limitBytes: number, whose: string, holders: () => Iterable<Holder>) {
    this.#limitBytes = limitBytes;
    this.#whose = whose;
    this.#holders = holders;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** `bytes` more wait; negative when they have left. */
  add(bytes: number): void {
    this.#bytes += bytes;
    if (bytes > 0 && this.#bytes > this.#limitBytes) this.#cutOffTheWorst();
  }

  #cutOffTheWorst(): void {
    let worst: Holder | undefined;
    for (const holder of this.#holders()) {
      if (worst === undefined || holder.queuedBytes > worst.queuedBytes) worst = holder;
    }
    worst?.cutOff(this.#limitBytes, this.#whose);
  }
}
