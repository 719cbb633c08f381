/** Ten processes whose output nobody reads, and ten terminals that echo keys: alone, and beside the stuck ones. */
import type { Container, ContainerProcess } from '@coracle/client';
import { echoes } from './echo.ts';
import type { Row } from './report.ts';
import { median, quantile } from './statistics.ts';

const EACH = 10;
const WARM_UP_KEYS = 3;
const DEADLINE_MS = 60_000;

export async function benchStuck(container: Container, where: string, keysEach: number): Promise<Row[]> {
  const typed = await Promise.all(
    range(() => container.exec({ args: ['cat'], terminal: { columns: 80, rows: 24 } })),
  );
  const type = async (keys: number): Promise<number[]> => {
    const samples: number[] = [];
    for (const process of typed) samples.push(...(await echoes(process, keys)));
    return samples;
  };
  await type(WARM_UP_KEYS);
  const idle = await type(keysEach);
  const stuck = await Promise.all(range(() => container.exec({ args: ['cat', '/dev/zero'] })));
  await allBlocked(container, stuck);
  const busy = await type(keysEach);
  for (const process of stuck) {
    await process.signal('SIGKILL');
    process.stdout.resume();
  }
  for (const process of typed) process.stdin.end('\n\x04');
  await Promise.all([...stuck, ...typed].map((process) => process.wait()));
  const atMost = 1.5 * median(idle);
  return [
    {
      name: `echo beside ${EACH} stuck readers, ${where}`,
      unit: 'ms',
      samples: busy,
      baseline: { name: 'idle', samples: idle },
      target: { text: `≤ 1.5 × idle = ${atMost.toFixed(1)} ms`, atMost },
      note: `${EACH} terminals; p99 ${quantile(busy, 0.99).toFixed(1)} ms, idle ${quantile(idle, 0.99).toFixed(1)} ms`,
    },
  ];
}

/**
 * All have filled what this end takes, and wait in write(2) by now: between two looks none of them has used the
 * processor. Until then the flood itself is measured.
 */
async function allBlocked(container: Container, processes: readonly ContainerProcess[]): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  const full = ({ stdout }: ContainerProcess): boolean =>
    stdout.readableLength >= stdout.readableHighWaterMark;
  let before = new Map<string, number>();
  for (;;) {
    const now = await ticksByPid(container);
    // The cat of the look itself is never there twice.
    const known = [...now].filter(([pid]) => before.has(pid));
    const quiet = known.every(([pid, ticks]) => before.get(pid) === ticks);
    if (quiet && known.length >= processes.length && processes.every(full)) return;
    if (performance.now() > deadline) throw new Error(`not all readers were stuck after ${DEADLINE_MS} ms`);
    before = now;
  }
}

/** proc(5), stat: processor time of each cat in the container. */
async function ticksByPid(container: Container): Promise<Map<string, number>> {
  const look = await container.exec({ args: ['sh', '-c', 'sleep 0.2; cat /proc/[0-9]*/stat'] });
  const { stdout } = await look.output();
  const found = stdout
    .toString('latin1')
    .split('\n')
    .map((line) => line.split(' '))
    .filter(([, name]) => name === '(cat)');
  return new Map(found.map((fields) => [fields[0] ?? '', Number(fields[13]) + Number(fields[14])]));
}

function range<T>(make: () => T): T[] {
  return Array.from({ length: EACH }, make);
}
