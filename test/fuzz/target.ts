/** What a fuzz target is: bytes in; it throws when something that must hold does not. */
export interface Target {
  /** `frames`: inputs are bytes of the link, and are also changed frame by frame. `bytes`: anything. */
  readonly format: 'frames' | 'bytes';
  readonly maxBytes: number;
  /** Inputs to begin with, besides the corpus. */
  readonly seeds: () => Buffer[];
  /**
   * Most statements that an input may cost, with its own length. A decoder whose work grows faster than its
   * input is caught by counting and not by a clock.
   */
  readonly workLimit: (bytes: number) => number;
  run(input: Buffer): void | Promise<void>;
}

export class BrokenRule extends Error {
  override readonly name = 'BrokenRule';
}

export function must(holds: boolean, what: string): asserts holds {
  if (!holds) throw new BrokenRule(what);
}
