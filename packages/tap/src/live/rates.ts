/** How fast counters move: a sample now and then, the last of them for the eye. */
export const SAMPLE_MS = 500;
const SAMPLES = 24;
/** Averaged for the number that is shown. */
const SHOWN = 2;

interface Meter {
  count: number;
  readonly samples: number[];
  seen: boolean;
}

export class Rates {
  readonly #meters = new Map<string, Meter>();
  #sampledMs = performance.now();

  /** @param counters by name; one that is not there any more is forgotten */
  sample(counters: ReadonlyMap<string, number>): void {
    const now = performance.now();
    const seconds = Math.max(0.001, (now - this.#sampledMs) / 1000);
    this.#sampledMs = now;
    for (const [name, count] of counters) {
      const meter = this.#meters.get(name);
      // What was counted before it was looked at says nothing of how fast.
      if (meter === undefined) this.#meters.set(name, { count, samples: [0], seen: true });
      else {
        meter.samples.push(Math.max(0, count - meter.count) / seconds);
        if (meter.samples.length > SAMPLES) meter.samples.shift();
        meter.count = count;
        meter.seen = true;
      }
    }
    for (const [name, meter] of this.#meters) {
      if (!meter.seen) this.#meters.delete(name);
      meter.seen = false;
    }
  }

  /** Per second. */
  of(name: string): number {
    const last = this.#meters.get(name)?.samples.slice(-SHOWN) ?? [];
    return last.length === 0 ? 0 : last.reduce((sum, one) => sum + one, 0) / last.length;
  }

  /** Per second, the newest last. */
  history(name: string): readonly number[] {
    return this.#meters.get(name)?.samples ?? [];
  }
}
