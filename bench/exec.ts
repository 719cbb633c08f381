/** exec of /bin/true in a running container, its exit awaited; `crun exec` alone in a guest is the baseline. */
import type { Container } from '@coracle/client';
import type { Place } from './place.ts';
import type { Row } from './report.ts';
import { median } from './statistics.ts';

export async function benchExec(
  place: Place,
  container: Container,
  crunExecMs: readonly number[],
): Promise<Row[]> {
  const library: number[] = [];
  for (let i = 0; i < 20; i++) {
    const start = performance.now();
    const process = await container.exec({ args: ['/bin/true'] });
    const { code } = await process.wait();
    if (code !== 0) throw new Error(`exec of /bin/true ended with ${code}`);
    library.push(performance.now() - start);
  }
  const commandLine: number[] = [];
  for (let i = 0; i < 10; i++) commandLine.push(await place.time(['exec', container.id, '/bin/true']));
  const baseline = { name: 'crun exec alone', samples: crunExecMs };
  const libraryAtMost = 1.5 * median(crunExecMs) + 20;
  return [
    {
      name: 'exec /bin/true, library',
      unit: 'ms',
      samples: library,
      baseline,
      target: { text: `≤ 1.5 × baseline + 20 = ${libraryAtMost.toFixed(0)} ms`, atMost: libraryAtMost },
    },
    {
      name: 'exec /bin/true, command line',
      unit: 'ms',
      samples: commandLine,
      baseline,
      target: {
        text: `≤ 100 ms more than that = ${(libraryAtMost + 100).toFixed(0)} ms`,
        atMost: libraryAtMost + 100,
      },
    },
  ];
}
