/**
 * A thousand streams open on one link: what each costs in memory, and what all of them move together beside what one
 * process moves alone. Every process is `cat`: what it is sent comes back, so bytes are counted when they return.
 */
import { readFileSync } from 'node:fs';
import type { Container, ContainerProcess } from '@coracle/client';
import { LocalPlace } from './local-place.ts';
import type { Row } from './report.ts';
import { median } from './statistics.ts';

/** stdin, stdout and stderr; the control streams of signals and resizes come on top. */
const STREAMS_EACH = 3;
const AT_A_TIME = 20;
const TOTAL_BYTES = 96 * 1024 * 1024;
const BLOCK = Buffer.alloc(32 * 1024, 'coracle');

export async function benchStreams(streams: number, rounds: number): Promise<Row[]> {
  await using place = new LocalPlace();
  const { sandbox, container } = await place.container();
  const memory = async (): Promise<Memory> => ({
    agent: (await sandbox.details()).residentBytes,
    proxy: residentBytes(place.proxyPid()),
    client: residentBytes(process.pid),
  });
  const alone = await cats(container, 1);
  // Not counted: code that runs for the first time.
  await move(alone, TOTAL_BYTES / 4);
  const before = await memory();
  const all = [...alone, ...(await cats(container, Math.ceil(streams / STREAMS_EACH) - 1))];
  const open = await memory();
  const rates = { alone: [] as number[], all: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    rates.alone.push(await move(alone, TOTAL_BYTES));
    rates.all.push(await move(all, TOTAL_BYTES));
  }
  const after = await memory();
  for (const cat of all) cat.stdin.end();
  await Promise.all(all.map((cat) => cat.wait()));
  const count = all.length * STREAMS_EACH;
  const atLeast = 0.7 * median(rates.alone);
  const each = (name: keyof Memory): Row => ({
    name: `memory of a stream, ${name}`,
    unit: 'KiB',
    samples: [(open[name] - before[name]) / 1024 / count],
    note: `${((after[name] - before[name]) / 1024 / count).toFixed(1)} KiB after traffic on all; ${(after[name] / 1024 / 1024).toFixed(0)} MiB resident in all`,
  });
  return [
    {
      name: `${count} streams together`,
      unit: 'MB/s',
      samples: rates.all,
      baseline: { name: 'one process alone', samples: rates.alone },
      target: { text: '≥ 70 % of one', atLeast },
      note: `${all.length} processes, each sent its share of ${TOTAL_BYTES / 1024 / 1024} MiB, which comes back`,
    },
    each('agent'),
    each('proxy'),
    each('client'),
  ];
}

interface Memory {
  readonly agent: number;
  readonly proxy: number;
  readonly client: number;
}

async function cats(container: Container, count: number): Promise<ContainerProcess[]> {
  const started: ContainerProcess[] = [];
  while (started.length < count) {
    const wanted = Math.min(AT_A_TIME, count - started.length);
    const some = Array.from({ length: wanted }, () => container.exec({ args: ['cat'], stdin: true }));
    started.push(...(await Promise.all(some)));
  }
  return started;
}

/** @returns MB/s, there and back counted once */
async function move(processes: readonly ContainerProcess[], bytes: number): Promise<number> {
  const share = Math.ceil(bytes / processes.length / BLOCK.length) * BLOCK.length;
  const start = performance.now();
  await Promise.all(processes.map((process) => sendAndReturn(process, share)));
  return (share * processes.length) / 1e6 / ((performance.now() - start) / 1000);
}

async function sendAndReturn({ stdin, stdout }: ContainerProcess, bytes: number): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  let returned = 0;
  const count = (chunk: Buffer): void => {
    returned += chunk.length;
    if (returned >= bytes) resolve();
  };
  stdout.on('data', count);
  for (let sent = 0; sent < bytes; sent += BLOCK.length) {
    if (!stdin.write(BLOCK)) await new Promise<void>((drained) => stdin.once('drain', drained));
  }
  await promise;
  stdout.off('data', count);
}

/** proc(5), status. */
function residentBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1]) * 1024;
}
