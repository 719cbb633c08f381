/**
 * `coracle run … true` from the command to its exit code, beside a bare boot of the same kernel to init. Where
 * the time goes is read off what others see meanwhile: files of the state folder, lines on the guest's console.
 */
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { exitOf, filesIn, type Place } from './place.ts';
import type { Row } from './report.ts';
import { median } from './statistics.ts';

const LOOK_MS = 2;

/** Each phase ends when its sign is seen; they come in this order. */
const phases: readonly { name: string; ended(seen: Seen): boolean }[] = [
  { name: 'coracle, virtiofsd and QEMU start', ended: ({ qemu }) => qemu },
  {
    name: 'firmware, kernel, Node, to the agent',
    ended: ({ console }) => console.includes('coracle-boot: agent'),
  },
  { name: 'agent ready', ended: ({ console }) => console.includes('coracle-boot: ready') },
  { name: 'mount the share, create, shim', ended: ({ phase }) => phase === 'created' },
  { name: 'start', ended: ({ phase }) => phase === 'started' },
  { name: 'run, exit, delete', ended: ({ over }) => over },
];

interface Seen {
  readonly qemu: boolean;
  readonly console: string;
  readonly phase: string;
  readonly over: boolean;
}

export async function benchStart(
  place: Place,
  rounds: number,
  bootToInitMs: readonly number[],
): Promise<Row[]> {
  const bundle = place.bundle('start', ['true']);
  const totals: number[] = [];
  const byPhase = phases.map((): number[] => []);
  for (let round = 0; round < rounds; round++) {
    const { totalMs, phasesMs } = await once(place, bundle, `start-${round}`);
    totals.push(totalMs);
    phasesMs.forEach((ms, index) => {
      byPhase[index]?.push(ms);
    });
  }
  const atMost = 2 * median(bootToInitMs);
  return [
    {
      name: 'coracle run … true',
      unit: 'ms',
      samples: totals,
      baseline: { name: 'bare boot to init', samples: bootToInitMs },
      target: { text: `≤ 2 × bare boot = ${atMost.toFixed(0)} ms`, atMost },
    },
    ...phases.map(
      ({ name }, index): Row => ({ name: `  ${name}`, unit: 'ms', samples: byPhase[index] ?? [] }),
    ),
  ];
}

async function once(
  place: Place,
  bundle: string,
  id: string,
): Promise<{ totalMs: number; phasesMs: number[] }> {
  const before = new Set(filesIn(place.sandboxes));
  const start = performance.now();
  const child = place.spawn(['run', '--bundle', bundle, id], ['ignore', 'ignore', 'inherit']);
  let endedAt: number | undefined;
  const ended = exitOf(child).then((code) => {
    endedAt = performance.now();
    if (code !== 0) throw new Error(`coracle run … true ended with ${code}`);
  });
  ended.catch(() => undefined);
  const marks: number[] = [];
  const state = path.join(place.folder, 'state', id, 'state.json');
  while (endedAt === undefined) {
    const sandbox = filesIn(place.sandboxes).find((name) => !before.has(name));
    const directory = sandbox === undefined ? undefined : path.join(place.sandboxes, sandbox);
    const seen: Seen = {
      qemu: directory !== undefined && /"main"/.test(read(path.join(directory, 'vm.json'))),
      console: directory === undefined ? '' : read(path.join(directory, 'console.log')),
      phase: /"phase": ?"(\w+)"/.exec(read(state))?.[1] ?? '',
      over: false,
    };
    while (phases[marks.length]?.ended(seen)) marks.push(performance.now());
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  await ended;
  // A phase that passed between two looks took no time that can be told.
  while (marks.length < phases.length - 1) marks.push(endedAt);
  marks.push(endedAt);
  return { totalMs: endedAt - start, phasesMs: marks.map((at, index) => at - (marks[index - 1] ?? start)) };
}

function read(file: string): string {
  try {
    return readFileSync(file, 'latin1');
  } catch {
    return '';
  }
}
