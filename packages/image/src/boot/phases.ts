/**
 * Where the time from QEMU's start to the agent's hello goes. Host and guest have a clock each; the guest's zero on the
 * host's clock is known from both ends: the answer was given before it came, and the first host greeted before we knew.
 *
 *     host   QEMU ─ first byte on the console ────────────────────────────────────────── hello ─ answer
 *     guest                                    0 = kernel ─ node ─ agent ─ link ─ ready ─ uptime
 *
 * A kernel that measured its TSC while the host was busy has a clock of another speed, which it corrects later or never:
 * then the agent's first word and the hello, which both clocks have, tell how fast it was.
 */
import type { BootStage } from '@coracle/wire';
import type { BootTimes } from './start.ts';

export interface Phase {
  readonly name: string;
  readonly beganMs: number;
  readonly tookMs: number;
  /** A part of the phase before it that is not a part. */
  readonly part: boolean;
}

export interface PhaseSummary {
  readonly name: string;
  readonly part: boolean;
  /** Medians; a phase begins where the one before ends, so that they add up. */
  readonly beganMs: number;
  readonly medianMs: number;
  readonly minMs: number;
  readonly maxMs: number;
}

const moments: ReadonlySet<string> = new Set(['node', 'agent', 'link', 'ready']);

/** @param initramfs the guest ran one before Node. */
export function phasesOf(times: BootTimes, initramfs: boolean): Phase[] {
  const { firmwareMs, helloMs, answerMs } = times;
  const { bootStages, uptimeMs } = inHostMs(times);
  const at = new Map(
    bootStages.filter(({ name }) => moments.has(name)).map((one) => [one.name, one.beganMs]),
  );
  const guest = (name: string, otherwise: number): number => at.get(name) ?? otherwise;
  const ready = guest('ready', uptimeMs);
  const link = guest('link', ready);
  const agent = guest('agent', link);
  const node = guest('node', agent);
  const zeroMs = Math.max(0, Math.min(answerMs - uptimeMs, helloMs - ready));
  const firmware = Math.min(firmwareMs ?? zeroMs, zeroMs);
  const ends: readonly (readonly [name: string, endMs: number])[] = [
    ['QEMU, until the firmware speaks', firmware],
    // The kernel's clock does not begin with its first instruction.
    ['firmware, kernel before its clock', zeroMs],
    [initramfs ? 'kernel and initramfs, to Node' : 'kernel, to Node', zeroMs + node],
    ["Node, to the agent's main", zeroMs + agent],
    ["agent's steps", zeroMs + link],
    ['link, to the hello', helloMs],
  ];
  const phases: Phase[] = [];
  let beganMs = 0;
  for (const [name, endMs] of ends) {
    phases.push({ name, beganMs, tookMs: Math.max(0, endMs - beganMs), part: false });
    if (name === "agent's steps") phases.push(...stepsOf(bootStages, zeroMs));
    beganMs = Math.max(beganMs, endMs);
  }
  return phases;
}

/** Less is what looking at the console and greeting take. */
const ordinaryDeviation = 0.15;

function inHostMs({ helloMs, agentMs, details }: BootTimes): { bootStages: BootStage[]; uptimeMs: number } {
  const { bootStages, uptimeMs } = details;
  const at = (name: string) => bootStages.find((stage) => stage.name === name)?.beganMs;
  const [agent, ready] = [at('agent'), at('ready')];
  if (agentMs === undefined || agent === undefined || ready === undefined) return { bootStages, uptimeMs };
  const speed = (helloMs - agentMs) / (ready - agent);
  if (!(Math.abs(speed - 1) > ordinaryDeviation) || speed <= 0) return { bootStages, uptimeMs };
  return {
    bootStages: bootStages.map(({ name, beganMs, tookMs }) => ({
      ...{ name, beganMs: beganMs * speed, tookMs: tookMs * speed },
    })),
    uptimeMs: uptimeMs * speed,
  };
}

function stepsOf(stages: readonly BootStage[], zeroMs: number): Phase[] {
  return stages
    .filter(({ name }) => !moments.has(name))
    .map(({ name, beganMs, tookMs }) => ({ name, beganMs: zeroMs + beganMs, tookMs, part: true }));
}

/** Steps that only some runs have (they take about a millisecond) count as nothing in the others. */
export function summarise(runs: readonly (readonly Phase[])[]): PhaseSummary[] {
  const names = [...new Map(runs.flat().map((phase) => [phase.name, phase])).values()].sort(
    (a, b) => order(runs, a) - order(runs, b),
  );
  let wholeMs = 0;
  let partMs = 0;
  return names.map(({ name, part }) => {
    const took = runs.map((run) => run.find((phase) => phase.name === name)?.tookMs ?? 0);
    const medianMs = median(took);
    const beganMs = part ? partMs : wholeMs;
    if (part) partMs += medianMs;
    else {
      partMs = wholeMs;
      wholeMs += medianMs;
    }
    return { name, part, beganMs, medianMs, minMs: Math.min(...took), maxMs: Math.max(...took) };
  });
}

/** For drawings: parts that nobody would see become one. */
export function foldSmallParts(phases: readonly PhaseSummary[]): PhaseSummary[] {
  const wholeMs = phases.reduce((sum, { part, medianMs }) => sum + (part ? 0 : medianMs), 0);
  const small = phases.filter(({ part, medianMs }) => part && medianMs < wholeMs * smallestPart);
  const last = small.at(-1);
  if (last === undefined || small.length === 1) return [...phases];
  const sum = (of: (phase: PhaseSummary) => number): number =>
    small.reduce((total, phase) => total + of(phase), 0);
  const others: PhaseSummary = {
    name: `${small.length} others`,
    part: true,
    beganMs: last.beganMs + last.medianMs - sum(({ medianMs }) => medianMs),
    medianMs: sum(({ medianMs }) => medianMs),
    minMs: sum(({ minMs }) => minMs),
    maxMs: sum(({ maxMs }) => maxMs),
  };
  const place = phases.findLastIndex(({ part }) => part);
  return phases.flatMap((phase, index) => [
    ...(small.includes(phase) ? [] : [phase]),
    ...(index === place ? [others] : []),
  ]);
}

const smallestPart = 0.01;

function order(runs: readonly (readonly Phase[])[], { name }: Phase): number {
  return Math.max(...runs.map((run) => run.findIndex((phase) => phase.name === name)));
}

export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2;
}
