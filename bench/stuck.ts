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
  await allBlocked(stuck);
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

/** Their output has filled what this end takes, and no more of it is coming. */
async function allBlocked(processes: readonly ContainerProcess[]): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  const full = (process: ContainerProcess): boolean =>
    process.stdout.readableLength >= process.stdout.readableHighWaterMark;
  while (!processes.every(full)) {
    if (performance.now() > deadline) throw new Error(`not all readers were stuck after ${DEADLINE_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function range<T>(make: () => T): T[] {
  return Array.from({ length: EACH }, make);
}
