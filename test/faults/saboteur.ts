/** One run of the fault suite: starts the processes, breaks things by a seeded plan, and counts what came of it. */
import { setTimeout as delay } from 'node:timers/promises';
import { type DriverName, until } from '../contract/place.ts';
import { type FaultKind, faultKinds } from './kinds.ts';
import type { Moved } from './mover.ts';
import { World } from './world.ts';

export interface FaultRunOptions {
  readonly driver: DriverName;
  readonly seed: number;
  /** How many faults besides one of each kind. */
  readonly faults: number;
  /** At least so many kills of the proxy. */
  readonly kills: number;
  readonly processes?: number;
  readonly onFault?: (line: FaultLine) => void;
  readonly onState?: (text: string) => void;
}

export interface FaultLine {
  readonly number: number;
  readonly ofNumber: number;
  readonly atSeconds: number;
  readonly kind: string;
  readonly target: string;
  /** Until the first stream had a new byte, and until all had, both ways. */
  readonly firstMs: number;
  readonly allMs: number;
  readonly movedBytes: number;
}

export interface FaultReport {
  readonly driver: DriverName;
  readonly seed: number;
  /** What the VM was started from; undefined when it booted. */
  readonly template: string | undefined;
  readonly seconds: number;
  readonly kills: number;
  readonly lines: readonly FaultLine[];
  readonly processes: readonly Moved[];
  /** What went wrong, in the order in which it was seen; empty when nothing did. */
  readonly wrong: readonly string[];
}

/** When those that have not moved again got no byte in this time, they are stuck. */
const STUCK_MS = 30_000;
/** A flood's account of its input lies behind a window of its own output: on a busy host that takes a while. */
const RECOVERY_DEADLINE_MS = 120_000;
const END_DEADLINE_MS = 60_000;
/** Between recovery and the next fault. */
const QUIET_MS = 300;

/** The same numbers for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let x = Math.imul(state ^ (state >>> 15), 1 | state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One of each kind, then whatever comes, with kills until there are enough; in random order. */
export function planFaults(
  { driver, faults, kills }: Pick<FaultRunOptions, 'driver' | 'faults' | 'kills'>,
  random: () => number,
): FaultKind[] {
  const known = faultKinds.filter(({ drivers }) => drivers.includes(driver));
  const plan = [...known];
  while (plan.length < faults) plan.push(known[Math.floor(random() * known.length)]!);
  const killing = known.find(({ name }) => name === 'kill proxy')!;
  while (plan.reduce((sum, kind) => sum + kind.kills, 0) < kills) plan.push(killing);
  return plan
    .map((kind) => ({ kind, order: random() }))
    .sort((a, b) => a.order - b.order)
    .map(({ kind }) => kind);
}

export async function runFaults(options: FaultRunOptions): Promise<FaultReport> {
  const { driver, seed, processes = 16, onFault, onState } = options;
  const random = seeded(seed);
  const plan = planFaults(options, random);
  onState?.(`starting a container with ${processes} processes (driver ${driver}, seed ${seed})`);
  await using world = await World.start(driver, random, processes);
  // The first seconds are an emulated guest's slowest: every program in it runs for the first time.
  await moveAgain(world);
  onState?.(`${plan.length} faults are planned`);
  const begun = performance.now();
  const lines: FaultLine[] = [];
  const wrong: string[] = [];
  const brokenOnes = () => world.movers.filter((mover) => mover.wrong !== undefined);
  for (const [index, kind] of plan.entries()) {
    try {
      const line = await oneFault(world, kind, random);
      lines.push({
        ...line,
        number: index + 1,
        ofNumber: plan.length,
        atSeconds: (performance.now() - begun) / 1000,
      });
      onFault?.(lines.at(-1)!);
    } catch (error) {
      wrong.push(`fault ${index + 1}, ${kind.name}: ${(error as Error).message}`);
    }
    if (wrong.length > 0 || brokenOnes().length > 0) break;
    await delay(QUIET_MS * (0.5 + random()));
  }
  onState?.('telling all processes to stop');
  // Those that are stuck would only be waited for in vain.
  const moved = await Promise.all(
    world.movers.map((mover) => mover.finish(wrong.length > 0 ? 5000 : END_DEADLINE_MS)),
  );
  wrong.push(
    ...moved.flatMap(({ name, wrong }) => (wrong === undefined ? [] : [`process ${name}: ${wrong}`])),
  );
  return {
    driver,
    seed,
    template: world.template,
    seconds: (performance.now() - begun) / 1000,
    kills: plan.slice(0, lines.length).reduce((sum, { kills }) => sum + kills, 0),
    lines,
    processes: moved,
    wrong,
  };
}

async function oneFault(
  world: World,
  kind: FaultKind,
  random: () => number,
): Promise<Omit<FaultLine, 'number' | 'ofNumber' | 'atSeconds'>> {
  const { target, at } = await kind.inject(world, random);
  await moveAgain(world);
  const times = (of: 'firstAt' | 'movedAt') => world.movers.map((mover) => (mover[of] ?? at) - at);
  return {
    kind: kind.name,
    target,
    firstMs: Math.min(...times('firstAt')),
    allMs: Math.max(...times('movedAt')),
    movedBytes: world.movedBytes,
  };
}

/** Waits until every process has new bytes, both ways. @throws Error that says where those stand that have none */
async function moveAgain({ movers }: World): Promise<void> {
  for (const mover of movers) mover.mark();
  const pending = () => movers.filter((mover) => mover.movedAt === undefined && mover.wrong === undefined);
  const moved = () => pending().reduce((sum, { bytes }) => sum + bytes, 0);
  let before = moved();
  let movedAt = performance.now();
  const stuck = (): boolean => {
    const now = moved();
    if (now !== before) movedAt = performance.now();
    before = now;
    return performance.now() - movedAt > STUCK_MS;
  };
  const what = 'all streams move again';
  await until(() => pending().length === 0 || stuck(), what, RECOVERY_DEADLINE_MS).catch(() => undefined);
  if (pending().length === 0) return;
  const where = pending().map((mover) => mover.describe());
  throw new Error(`waited in vain until ${what}; these do not:\n  ${where.join('\n  ')}`);
}
