/** A key pressed on a terminal until its echo is here: alone, and while another process floods stdout. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Container, ContainerProcess } from '@coracle/client';
import { exitOf, type Place } from './place.ts';
import type { Row } from './report.ts';
import { median, quantile } from './statistics.ts';

/** A fast typist's pause; longer than an echo takes, so that each is alone. */
const PAUSE_MS = 15;

export async function benchEcho(place: Place, container: Container, keys: number): Promise<Row[]> {
  // cat, whose terminal's line discipline echoes each key; it reads nothing until the line ends.
  const typed = await container.exec({ args: ['cat'], terminal: { columns: 80, rows: 24 } });
  await echoes(typed, 10);
  const idle = await echoes(typed, keys);
  const flood = place.spawn(['exec', container.id, 'cat', '/dev/zero'], ['ignore', 'pipe', 'inherit']);
  let flooded = 0;
  flood.stdout?.on('data', (chunk: Buffer) => (flooded += chunk.length));
  const deadline = performance.now() + 30_000;
  while (flooded < 4_000_000) {
    if (performance.now() > deadline) throw new Error(`the flood is a trickle: ${flooded} bytes in 30 s`);
    await sleep(10);
  }
  const [bytesBefore, start] = [flooded, performance.now()];
  const busy = await echoes(typed, keys);
  const rate = (flooded - bytesBefore) / 1e3 / (performance.now() - start);
  // Handed on to cat. Killing `coracle exec` itself would leave its shim, and so the flood, alive.
  const ended = exitOf(flood);
  flood.kill('SIGTERM');
  await ended;
  typed.stdin.end('\n\x04');
  await typed.wait();
  const twice = 2 * median(idle);
  return [
    {
      name: 'echo of a key, idle',
      unit: 'ms',
      samples: idle,
      target: { text: '≤ 6 ms', atMost: 6 },
      note: `p99 ${quantile(idle, 0.99).toFixed(1)} ms`,
    },
    {
      name: 'echo of a key, stdout flooded',
      unit: 'ms',
      samples: busy,
      baseline: { name: 'idle', samples: idle },
      target: { text: `≤ 2 × idle = ${twice.toFixed(1)} ms`, atMost: twice },
      note: `p99 ${quantile(busy, 0.99).toFixed(1)} ms, beside ${rate.toFixed(0)} MB/s through coracle exec`,
    },
  ];
}

export async function echoes(process: ContainerProcess, count: number): Promise<number[]> {
  const samples: number[] = [];
  let wake: () => void = () => undefined;
  const listener = (): void => wake();
  process.stdout.on('data', listener);
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    const echoed = new Promise<void>((resolve) => (wake = resolve));
    process.stdin.write('k');
    await echoed;
    samples.push(performance.now() - start);
    await sleep(PAUSE_MS);
  }
  process.stdout.off('data', listener);
  return samples;
}
