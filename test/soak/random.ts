/** A random source that a seed repeats: mulberry32. Timing is the machine's, so a seed repeats the choices only. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed >>> 0;
  }

  /** From 0 up to and without `below`. */
  integer(below: number): number {
    return Math.floor(this.#next() * below);
  }

  between(low: number, high: number): number {
    return low + this.integer(high - low + 1);
  }

  chance(probability: number): boolean {
    return this.#next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.integer(items.length)];
    if (item === undefined) throw new Error('nothing to pick from');
    return item;
  }

  /** One of them, by weight. */
  weighted<T extends { readonly weight: number }>(items: readonly T[]): T {
    let rest = this.#next() * items.reduce((sum, { weight }) => sum + weight, 0);
    for (const item of items) {
      rest -= item.weight;
      if (rest < 0) return item;
    }
    return this.pick(items);
  }

  /** Small ones often, large ones rarely: as many of 1 to 10 bytes as of 1 to 10 MB. */
  size(most: number): number {
    return Math.max(1, Math.floor(most ** this.#next()));
  }

  /** A random source of its own, for one worker. */
  fork(): Random {
    return new Random(this.integer(2 ** 32));
  }

  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let t = this.#state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }
}
