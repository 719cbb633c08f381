/**
 * When a guest came up, by CLOCK_MONOTONIC, which begins when the kernel does. Kept as it happens and told when
 * somebody asks (GetAgentDetails): the boot itself pays a reading of the clock for each step.
 */
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import type { BootStage } from '@coracle/wire';
import { log, reasonOf } from './log.ts';

/** Steps that took less are not worth a line. */
const SHORTEST_STEP_MS = 1;

/** Milliseconds since the guest kernel's start. */
export function uptimeMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}

export class BootTimeline {
  readonly #stages: BootStage[];
  readonly #findInit: () => BootStage | undefined;
  #asked = false;

  /** To be made first of all in the main function. */
  constructor(nowMs = uptimeMs(), sinceNodeMs = performance.now(), findInit = initStarted) {
    this.#findInit = findInit;
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

  stages(): BootStage[] {
    const init = this.#asked ? undefined : this.#findInit();
    this.#asked = true;
    if (init !== undefined) this.#stages.unshift(init);
    return [...this.#stages];
  }
}

/**
 * What the kernel noted when it started process 1: loading Node from there on is Node's part, not the kernel's. Its log
 * has a clock of its own, which began some ms earlier; a record of ours tells by how much.
 */
function initStarted(): BootStage | undefined {
  try {
    const fd = openSync('/dev/kmsg', constants.O_RDWR | constants.O_NONBLOCK);
    try {
      writeSync(fd, `<7>${CLOCKS}\n`);
      const writtenMs = uptimeMs();
      const record = Buffer.alloc(8192);
      let initMs: number | undefined;
      for (;;) {
        const { milliseconds, text } = parseRecord(record.toString('latin1', 0, readSync(fd, record)));
        if (/^Run \S+ as init process/.test(text)) initMs = milliseconds;
        if (initMs !== undefined && text.startsWith(CLOCKS))
          return { name: 'init', beganMs: initMs - milliseconds + writtenMs, tookMs: 0 };
      }
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    // EAGAIN: all was read. EPIPE: the first records were overwritten.
    log('debug', "the kernel's log does not say when process 1 was started", { reason: reasonOf(error) });
    return undefined;
  }
}

const CLOCKS = 'coracle-agent: compares clocks';

/** One record of /dev/kmsg (Documentation/ABI/testing/dev-kmsg): `priority,sequence,microseconds,flags;text`. */
export function parseRecord(record: string): { milliseconds: number; text: string } {
  const [, microseconds, text = ''] = /^\d+,\d+,(\d+),[^;]*;(.*)/.exec(record) ?? [];
  return { milliseconds: Number(microseconds ?? 0) / 1000, text };
}
