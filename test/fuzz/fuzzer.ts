/**
 * A coverage-guided fuzzer: it changes inputs and keeps those that reach a statement or a branch's way that
 * none reached before, or reach it ten times as often. (jazzer.js would do the same on libFuzzer, but its
 * prebuilt addon needs a newer C library than Debian 12 has.)
 */
import { mutate } from './mutate.ts';
import { Random } from './random.ts';
import { must, type Target } from './target.ts';

export interface FuzzOptions {
  readonly seconds: number;
  readonly seed: number;
  readonly corpus: readonly Buffer[];
  /** Resident memory that the process may have, after the garbage was collected. */
  readonly memoryMiB: number;
  /** Keep only what reaches something for the first time, not what reaches it more often: a small corpus. */
  readonly firstOnly?: boolean;
  onProgress(progress: Progress): void;
  /** Told before each input is run, for a watchdog. */
  onInput?(input: Buffer): void;
}

export interface Progress {
  readonly executions: number;
  readonly corpus: number;
  /** Counters reached, of all that there are. */
  readonly reached: number;
  readonly counters: number;
  readonly residentMiB: number;
}

export interface FuzzResult extends Progress {
  readonly crash?: { readonly input: Buffer; readonly error: unknown };
  /** Inputs that reached something new, in the order of their finding. */
  readonly kept: readonly Buffer[];
}

/** How often a statement ran, in eight steps: 1, 2, 3, 4 to 7, … */
function bucket(count: number): number {
  return 1 << Math.min(7, 31 - Math.clz32(count));
}

export async function fuzz(target: Target, counts: Uint32Array, options: FuzzOptions): Promise<FuzzResult> {
  const random = new Random(options.seed);
  const seen = new Uint8Array(counts.length);
  const kept: Buffer[] = [];
  let [executions, reached, residentMiB] = [0, 0, 0];
  const progress = (): Progress => ({
    executions,
    corpus: kept.length,
    reached,
    counters: counts.length,
    residentMiB,
  });

  const execute = async (input: Buffer): Promise<void> => {
    counts.fill(0);
    executions++;
    options.onInput?.(input);
    const done = target.run(input);
    if (done !== undefined) await done;
    let work = 0;
    let isNew = false;
    for (let i = 0; i < counts.length; i++) {
      const count = counts[i] as number;
      if (count === 0) continue;
      work += count;
      const bit = bucket(count);
      const before = seen[i] as number;
      if (before & bit) continue;
      if (before === 0) reached++;
      seen[i] = before | bit;
      isNew ||= before === 0 || options.firstOnly !== true;
    }
    must(work <= target.workLimit(input.length), `${work} statements for an input of ${input.length} bytes`);
    if (isNew) kept.push(input);
  };
  const checkMemory = (): void => {
    residentMiB = Math.round(process.memoryUsage.rss() / 2 ** 20);
    must(residentMiB < options.memoryMiB, `${residentMiB} MiB are resident`);
  };

  const end = performance.now() + options.seconds * 1000;
  let nextReport = performance.now() + 1000;
  let input: Buffer = Buffer.alloc(0);
  try {
    for (input of [Buffer.alloc(0), ...target.seeds(), ...options.corpus]) await execute(input);
    while (performance.now() < end) {
      // The later an input was found, the more often it is changed.
      const base = random.below(2)
        ? random.pick(kept)
        : (kept[kept.length - 1 - random.below(Math.ceil(kept.length / 4))] as Buffer);
      input = mutate(base, random.pick(kept), target.format, target.maxBytes, random);
      await execute(input);
      if (performance.now() < nextReport) continue;
      nextReport = performance.now() + 1000;
      checkMemory();
      options.onProgress(progress());
    }
    checkMemory();
  } catch (error) {
    return { ...progress(), kept, crash: { input, error } };
  }
  return { ...progress(), kept };
}
