/**
 * Notices that the wall clock has moved by itself: the host was suspended, or somebody has set the clock. Guests have
 * clocks of their own, which know nothing of it.
 */

const LOOK_MS = 1000;
/** More than NTP slews in a second (adjtimex(2): 0.5 ms), less than a person sees. */
const JUMP_MS = 100;

export class ClockWatch {
  readonly #timer: NodeJS.Timeout;
  /** Wall clock minus the clock that nobody sets, which stands still while the host is suspended (CLOCK_MONOTONIC). */
  #difference = differenceNow();

  constructor(onJump: () => void) {
    this.#timer = setInterval(() => {
      const difference = differenceNow();
      const jumped = Math.abs(difference - this.#difference) > JUMP_MS;
      this.#difference = difference;
      if (jumped) onJump();
    }, LOOK_MS);
    this.#timer.unref();
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

const differenceNow = (): number => Date.now() - performance.now();
