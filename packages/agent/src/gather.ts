/**
 * When to let the output of a program that writes line by line gather. Such a program wakes the agent for each
 * line, and each becomes a frame: 200,000 short lines on a terminal took 21 s under emulation. So when small
 * reads follow each other closely, a pause lets lines gather. A keystroke's echo comes alone and never waits;
 * nor does a program that writes large blocks, nor one that answers what it is asked, however fast.
 */
const SMALL_BYTES = 1024;
const CLOSE_MS = 2;
const AFTER_READS = 4;
export const GATHER_MS = 4;

export class Gather {
  /** Small reads in a row, each close to the one before, and no input between them. */
  #smallReads = 0;
  #lastReadAt = Number.NEGATIVE_INFINITY;

  /** `bytes` were read. @returns true when the next read should wait for GATHER_MS */
  onRead(bytes: number, nowMs: number): boolean {
    if (bytes >= SMALL_BYTES) {
      this.#smallReads = 0;
      return false;
    }
    if (nowMs - this.#lastReadAt <= CLOSE_MS + GATHER_MS) this.#smallReads++;
    else this.#smallReads = 0;
    this.#lastReadAt = nowMs;
    return this.#smallReads >= AFTER_READS;
  }

  /** The process was given input: what it writes next may be an answer that somebody waits for. */
  onInput(): void {
    this.#smallReads = 0;
  }
}
