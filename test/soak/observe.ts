/** What the long-lived processes hold, as /proc tells it, over the time of a run. */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Place, until } from '../contract/place.ts';
import { readProc } from '../support/processes.ts';
import type { Tenant } from './tenant.ts';

const MiB = 1024 * 1024;
/** A plateau may be this much above an earlier one: V8 collects when it likes, allocators keep pages. */
const GROWTH = { factor: 1.2, bytes: 16 * MiB } as const;

/** Of 100 ms: longer than any process lives that an operation or a fault leaves behind (3 s). */
const CALM_ROUNDS = 45;

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

export interface Sample {
  readonly atMs: number;
  readonly bytes: number;
}

/** One long-lived process, or the heap of this one. */
export class Watched {
  readonly name: string;
  readonly #memory: () => number | undefined | Promise<number | undefined>;
  readonly #descriptors: (() => number) | undefined;
  readonly samples: Sample[] = [];
  atStart: number | undefined;
  atEnd: number | undefined;

  constructor(
    name: string,
    memory: () => number | undefined | Promise<number | undefined>,
    descriptors?: () => number,
  ) {
    this.name = name;
    this.#memory = memory;
    this.#descriptors = descriptors;
  }

  async sample(): Promise<void> {
    const bytes = await this.#memory();
    if (bytes !== undefined) this.samples.push({ atMs: performance.now(), bytes });
  }

  get descriptors(): number | undefined {
    return this.#descriptors?.();
  }

  get bytes(): number {
    return this.samples.at(-1)?.bytes ?? 0;
  }

  /** Medians of the second and the last quarter of the time that was watched. */
  get plateaus(): { readonly second: number; readonly last: number } | undefined {
    const [first, final] = [this.samples[0], this.samples.at(-1)];
    if (first === undefined || final === undefined || this.samples.length < 8) return undefined;
    const quarter = (n: number) => {
      const length = (final.atMs - first.atMs) / 4;
      const from = first.atMs + n * length;
      const inside = this.samples.filter(({ atMs }) => atMs >= from && atMs <= from + length);
      return inside.map(({ bytes }) => bytes).sort((a, b) => a - b)[inside.length >> 1] ?? 0;
    };
    return { second: quarter(1), last: quarter(3) };
  }

  /** In words, what is not as it must be. */
  faults(): string[] {
    const faults: string[] = [];
    const { plateaus } = this;
    if (plateaus !== undefined && plateaus.last > plateaus.second * GROWTH.factor + GROWTH.bytes)
      faults.push(`${this.name}: memory grew from ${mib(plateaus.second)} to ${mib(plateaus.last)}`);
    if (this.atStart !== this.atEnd)
      faults.push(`${this.name}: ${this.atStart} descriptors at the start, ${this.atEnd} at the end`);
    return faults;
  }
}

/** What of a driver's place is watched; the proxy only while it is not killed on purpose. */
export function watch({ shared }: Tenant): { proxy: Watched; others: Watched[] } {
  const { place, id, sandbox } = shared;
  const vmPid = place.vmPid(id);
  const name = place.driver === 'local' ? 'agent' : 'QEMU';
  const proxy = new Watched(
    `${place.driver}: proxy`,
    () => residentBytes(proxyPid(place)),
    () => descriptorsOf(proxyPid(place)).length,
  );
  const others = [
    new Watched(
      `${place.driver}: ${name}`,
      () => residentBytes(vmPid),
      () => descriptorsOf(vmPid).length,
    ),
  ];
  if (place.driver === 'qemu')
    others.push(new Watched('qemu: agent', async () => (await sandbox.details()).residentBytes));
  return { proxy, others };
}

/** The soak's own process, which is a library client too. */
export function watchSelf(): Watched {
  return new Watched(
    'library client',
    () => {
      collectGarbage();
      return process.memoryUsage().heapUsed;
    },
    () => descriptorsOf(process.pid).length,
  );
}

export function proxyPid(place: Place): number | undefined {
  const line = place
    .processes()
    .find((found) => found.includes('coracle-proxy') || found.includes('proxy.js'));
  return line === undefined ? undefined : Number(line.split(' ')[0]);
}

export function residentBytes(pid: number | undefined): number | undefined {
  const found = pid === undefined ? null : /^VmRSS:\s+(\d+) kB$/m.exec(readProc(pid, 'status'));
  return found?.[1] === undefined ? undefined : Number(found[1]) * 1024;
}

/** Where each descriptor points to. */
export function descriptorsOf(pid: number | undefined): string[] {
  if (pid === undefined || !existsSync(`/proc/${pid}/fd`)) return [];
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [`${fd} ${readlinkSync(`/proc/${pid}/fd/${fd}`)}`];
    } catch {
      // Of the reading itself, or closed since.
      return [];
    }
  });
}

/** Counts descriptors of all once they have stopped changing, which an event loop or two may take. */
export async function settled(watched: readonly Watched[]): Promise<(number | undefined)[]> {
  let [before, calm] = ['', 0];
  const counts = () => watched.map(({ descriptors }) => descriptors);
  await until(async () => {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const now = counts().join();
    calm = now === before ? calm + 1 : 0;
    before = now;
    return calm >= CALM_ROUNDS;
  }, 'descriptors stop changing');
  return counts();
}

/** Mounts, processes and folders of this run, and how many mounts the machine has. */
export function machine(places: readonly Place[]): string[] {
  const mounts = readFileSync('/proc/self/mounts', 'utf8').split('\n');
  return places.flatMap((place) => [
    ...mounts.filter((line) => line.includes(place.folder)).map((line) => `mount ${line}`),
    ...place.processes().map((line) => `process ${line}`),
    ...(existsSync(place.folder) ? [`folder ${place.folder}`] : []),
  ]);
}

export const mib = (bytes: number): string => `${(bytes / MiB).toFixed(1)} MiB`;
