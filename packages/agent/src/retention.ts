/**
 * The memory that all outputs share for bytes which their readers have not taken: a thousand processes that nobody
 * reads must not eat the guest. An output that gets none waits; its process then blocks in its pipe, and nothing is lost.
 */
import { KEPT_PER_OUTPUT_BYTES, SHARED_RETENTION_BYTES } from './limits.ts';

/** Not worth waking an output for less. */
const WORTH_WAKING_BYTES = 64 * 1024;

export class RetentionBudget {
  #left: number;
  /** Who found nothing left, in turn. */
  readonly #waiting = new Set<() => void>();

  constructor(bytes = SHARED_RETENTION_BYTES) {
    this.#left = bytes;
  }

  get left(): number {
    return Math.max(0, this.#left);
  }

  wait(wake: () => void): void {
    this.#waiting.add(wake);
  }

  change(taken: number): void {
    this.#left -= taken;
    if (taken >= 0) return;
    let worth = Math.floor(this.#left / WORTH_WAKING_BYTES);
    for (const wake of [...this.#waiting]) {
      if (worth-- <= 0) return;
      this.#waiting.delete(wake);
      wake();
    }
  }

  forget(wake: () => void): void {
    this.#waiting.delete(wake);
  }
}

/** One output's part of it. */
export class Retention {
  readonly #budget: RetentionBudget;
  readonly #wake: () => void;
  /** Of the budget. */
  #taken = 0;

  constructor(budget: RetentionBudget, wake: () => void) {
    this.#budget = budget;
    this.#wake = wake;
  }

  /** How much more may be kept by an output that keeps `kept`. */
  room(kept: number): number {
    const room = Math.max(0, KEPT_PER_OUTPUT_BYTES - kept) + this.#budget.left;
    if (room === 0) this.#budget.wait(this.#wake);
    return room;
  }

  /** It keeps `kept` bytes now. */
  update(kept: number): void {
    const taken = Math.max(0, kept - KEPT_PER_OUTPUT_BYTES);
    const change = taken - this.#taken;
    this.#taken = taken;
    if (change !== 0) this.#budget.change(change);
  }

  release(): void {
    this.#budget.forget(this.#wake);
    this.update(0);
  }
}
