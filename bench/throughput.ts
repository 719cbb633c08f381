/** Bytes through the whole chain; dd in blocks of 4 KiB on the bare port is the baseline. */

import { once } from 'node:events';
import type { Readable, Writable } from 'node:stream';
import type { Container } from '@coracle/client';
import { exitOf, type Place } from './place.ts';
import type { Row } from './report.ts';
import { median } from './statistics.ts';

const MIB = 1024 * 1024;
const BLOCK = Buffer.alloc(256 * 1024, 'coracle');

export interface ThroughputOptions {
  readonly mib: number;
  readonly rounds: number;
  /** MB/s. */
  readonly ddOut: readonly number[];
  readonly ddIn: readonly number[];
}

export async function benchThroughput(
  place: Place,
  container: Container,
  { mib, rounds, ddOut, ddIn }: ThroughputOptions,
): Promise<Row[]> {
  const bytes = mib * MIB;
  const source = ['head', '-c', String(bytes), '/dev/zero'];
  // Says when it is there and when it has read all, so that starting it is not counted.
  const sink = ['sh', '-c', 'echo go; cat > /dev/null; echo done'];
  const lines = ['sh', '-c', `yes ${'x'.repeat(71)} | head -c ${bytes / 8}`];
  const rates: Record<string, number[]> = {};
  // The first round is not counted: the guest's Node has yet to compile what runs often, dd comes compiled.
  for (let round = -1; round < rounds; round++) {
    const note = (name: string, rate: number): void => {
      if (round >= 0) rates[name] = [...(rates[name] ?? []), rate];
    };
    const out = await container.exec({ args: source });
    note('libraryOut', await readRate(out.stdout, bytes));
    await out.wait();
    const into = await container.exec({ args: sink, stdin: true });
    note('libraryIn', await writeRate(into.stdin, into.stdout, bytes));
    await into.wait();
    const blocks = await container.exec({ args: source, terminal: { columns: 80, rows: 24 } });
    note('blocks', await readRate(blocks.stdout, bytes));
    await blocks.wait();
    const terminal = await container.exec({ args: lines, terminal: { columns: 80, rows: 24 } });
    note('lines', await readRate(terminal.stdout, bytes / 8));
    await terminal.wait();
    const shimOut = place.spawn(['exec', container.id, ...source], ['ignore', 'pipe', 'inherit']);
    note('shimOut', await readRate(shimOut.stdout as Readable, bytes));
    await exitOf(shimOut);
    const shimIn = place.spawn(['exec', container.id, ...sink], ['pipe', 'pipe', 'inherit']);
    note('shimIn', await writeRate(shimIn.stdin as Writable, shimIn.stdout as Readable, bytes));
    await exitOf(shimIn);
  }
  const row = (name: string, samples: number[] | undefined, dd: readonly number[], share: number): Row => ({
    name,
    unit: 'MB/s',
    samples: samples ?? [],
    baseline: { name: 'dd bs=4k', samples: dd },
    target: { text: `≥ ${share * 100} % of dd`, atLeast: share * median(dd) },
  });
  return [
    row('stdout, library', rates.libraryOut, ddOut, 0.6),
    row('stdout, coracle exec and shim', rates.shimOut, ddOut, 0.6),
    row('stdin, library', rates.libraryIn, ddIn, 0.4),
    row('stdin, coracle exec and shim', rates.shimIn, ddIn, 0.4),
    {
      name: "a terminal's output, in blocks",
      unit: 'MB/s',
      samples: rates.blocks ?? [],
      baseline: { name: 'dd bs=4k', samples: ddOut },
      target: { text: '≥ 10 MB/s', atLeast: 10 },
    },
    {
      name: "a terminal's output, lines of 72",
      unit: 'MB/s',
      samples: rates.lines ?? [],
      baseline: { name: 'dd bs=4k', samples: ddOut },
      note: "the guest kernel's line discipline handles each line by itself",
    },
  ];
}

/** MB/s from the first byte to the end of the stream. @throws Error when less than `bytes` came */
async function readRate(stream: Readable, bytes: number): Promise<number> {
  let start = 0;
  let seen = 0;
  let first = 0;
  stream.on('data', (chunk: Buffer) => {
    if (seen === 0) {
      start = performance.now();
      first = chunk.length;
    }
    seen += chunk.length;
  });
  await once(stream, 'end');
  const seconds = (performance.now() - start) / 1000;
  if (seen < bytes) throw new Error(`${seen} of ${bytes} bytes came`);
  return (seen - first) / 1e6 / seconds;
}

/** MB/s from the sink's first word to its last. */
async function writeRate(into: Writable, from: Readable, bytes: number): Promise<number> {
  from.setEncoding('latin1');
  const words: string[] = [];
  const waiting: { wake?: () => void } = {};
  from.on('data', (text: string) => {
    words.push(text);
    waiting.wake?.();
  });
  const until = async (word: string): Promise<void> => {
    while (!words.join('').includes(word)) await new Promise<void>((resolve) => (waiting.wake = resolve));
  };
  await until('go');
  const start = performance.now();
  for (let sent = 0; sent < bytes; sent += BLOCK.length) if (!into.write(BLOCK)) await once(into, 'drain');
  into.end();
  await until('done');
  return bytes / 1e6 / ((performance.now() - start) / 1000);
}
