/**
 * When a guest came up, by CLOCK_MONOTONIC, which begins when the kernel does. Kept as it happens and told when
 * somebody asks (GetAgentDetails): the boot itself pays a reading of the clock for each step.
 *
 * When process 1 was started only the kernel's log says, and that has a clock of its own: under emulation it was off by
 * up to 280 ms. So what the kernel does to load Node is told as the kernel's.
 */
import type { BootStage } from '@coracle/wire';

/** Steps that took less are not worth a line. */
const SHORTEST_STEP_MS = 1;

/** Milliseconds since the guest kernel's start. */
export function uptimeMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export class BootTimeline {
  readonly #stages: BootStage[];

  /**
   * To be made first of all in the main function.
   * @param sinceNodeMs not from `performance`, whose first use loads modules
   */
  constructor(nowMs = uptimeMs(), sinceNodeMs = process.uptime() * 1000) {
    this.#stages = [
      { name: 'node', beganMs: nowMs - sinceNodeMs, tookMs: sinceNodeMs },
      { name: 'agent', beganMs: nowMs, tookMs: 0 },
    ];
  }

  moment(name: string): void {
    this.#stages.push({ name, beganMs: uptimeMs(), tookMs: 0 });
  }

  step(name: string, beganMs: number, endedMs = uptimeMs()): void {
    const tookMs = endedMs - beganMs;
    if (tookMs > SHORTEST_STEP_MS) this.#stages.push({ name, beganMs, tookMs });
  }

  stages(): readonly BootStage[] {
    return this.#stages;
  }
}
