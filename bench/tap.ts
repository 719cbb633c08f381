/**
 * What a capture costs the proxy while it switches output in frames of 32 KiB, each kind of content beside the same
 * without a capture; how fast coracle-tap reads captures, of large frames and of headers alone; how long a report takes,
 * and its page in a browser (`scripts/setup tests` installs it).
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import {
  Capture,
  type CaptureContent,
  captureContents,
  Direction,
  encodeFrame,
  FrameType,
  MAX_PAYLOAD_BYTES,
} from '@coracle/wire';
import { startBrowser } from '../test/tap/page.ts';
import type { Row } from './report.ts';
import { median } from './statistics.ts';
import { type Sample, SwitchPlace, sample, throughProxy } from './switch.ts';

const program = path.join(path.dirname(import.meta.dirname), 'bin/coracle-tap');
const FILE_BYTES = 100 * 1024 * 1024;
/** Of the proxy's processor time for the same bytes. */
const MOST_COST: Partial<Record<CaptureContent, number>> = { headers: 0.1, payload: 0.25 };

export async function benchTap(rounds: number): Promise<Row[]> {
  return [...(await costs(2 * rounds)), ...reading(rounds), ...(await pages(rounds))];
}

/**
 * On and off in turns at the same proxy: what two proxies do differs by more than what a capture costs. The cost is that
 * of a pair.
 */
async function costs(rounds: number): Promise<Row[]> {
  const rows: Row[] = [];
  for (const content of captureContents) {
    await using place = new SwitchPlace();
    const way = await throughProxy(place, 'out');
    using _ = way.client;
    const capture = await place.node('capture.ts', place.proxySocket, content);
    const samples: Record<'off' | 'on', Sample[]> = { off: [], on: [] };
    for (let round = 0; round < rounds; round++) {
      for (const state of ['off', 'on'] as const) {
        if (state === 'on') process.kill(capture, 'SIGUSR2');
        samples[state].push(await sample(way));
      }
      process.kill(capture, 'SIGUSR2');
    }
    rows.push(costRow(content, samples));
  }
  return rows;
}

function costRow(content: CaptureContent, { off, on }: Record<'off' | 'on', readonly Sample[]>): Row {
  const most = MOST_COST[content];
  const per = (samples: readonly Sample[]): number[] => samples.map(({ perCpuSecond }) => perCpuSecond);
  const cost =
    median(on.map(({ perCpuSecond }, round) => (off[round] as Sample).perCpuSecond / perCpuSecond)) - 1;
  return {
    name: `switching output, captured: ${content}`,
    unit: 'MiB/s',
    samples: per(on),
    baseline: { name: 'no capture', samples: per(off) },
    ...(most === undefined
      ? {}
      : { target: { text: `at most ${most * 100} % more time`, atLeast: median(per(off)) / (1 + most) } }),
    note: `${(cost * 100).toFixed(0)} % more of the proxy's processor time for the same bytes`,
  };
}

function reading(rounds: number): Row[] {
  const folder = mkdtempSync(path.join(tmpdir(), 'coracle-bench-'));
  try {
    return (['payload', 'headers'] as const).flatMap((content) => {
      const file = path.join(folder, content);
      write(file, content);
      const bytes = statSync(file).size;
      return [['stats'], ['show', '--json']].map((command): Row => {
        const samples = Array.from({ length: rounds }, () => {
          const startMs = performance.now();
          execFileSync(program, [...command, file], { stdio: ['ignore', 'ignore', 'inherit'] });
          return bytes / 1e6 / ((performance.now() - startMs) / 1000);
        });
        const name = `${command.join(' ')}, a capture of ${content === 'payload' ? '32 KiB frames' : 'headers alone'}`;
        return { name, unit: 'MB/s', samples, target: { text: '≥ 200 MB/s', atLeast: 200 } };
      });
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** From the command to the page, and from a browser that runs already to a page that has been drawn. */
async function pages(rounds: number): Promise<Row[]> {
  const folder = mkdtempSync(path.join(tmpdir(), 'coracle-bench-'));
  const browser = await startBrowser();
  try {
    const capture = path.join(folder, 'headers');
    write(capture, 'headers');
    const made: number[] = [];
    const opened: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const file = path.join(folder, `${round}.html`);
      const startMs = performance.now();
      execFileSync(program, ['report', capture, '--output', file], { stdio: 'ignore' });
      made.push(performance.now() - startMs);
      const page = await browser.newPage();
      const openMs = performance.now();
      await page.goto(pathToFileURL(file).href);
      // Two frames later all of it is on the screen.
      await page.evaluate(
        'new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(() => drawn())))',
      );
      opened.push(performance.now() - openMs);
      await page.close();
    }
    return [
      {
        name: 'report of 100 MB',
        unit: 'ms',
        samples: made,
        target: { text: '≤ 10 s', atMost: 10_000 },
        note: 'headers alone, 1.4 million frames of 50 streams',
      },
      {
        name: 'opening it in Chromium',
        unit: 'ms',
        samples: opened,
        target: { text: '≤ 2 s', atMost: 2000 },
        note: `a page of ${(statSync(path.join(folder, '0.html')).size / 1e6).toFixed(1)} MB`,
      },
    ];
  } finally {
    await browser.close();
    rmSync(folder, { recursive: true });
  }
}

function write(file: string, content: CaptureContent): void {
  const descriptor = openSync(file, 'w');
  let written = 0;
  const capture = new Capture({
    content,
    application: 'bench',
    place: 'in a benchmark',
    maxQueuedBytes: Number.MAX_SAFE_INTEGER,
    write: (bytes, taken) => {
      written += writeSync(descriptor, bytes);
      taken();
    },
  });
  const box = capture.sandbox('bench');
  const payload = Buffer.alloc(MAX_PAYLOAD_BYTES, 'coracle');
  for (let frame = 0; written < FILE_BYTES; frame++) {
    const offset = Math.floor(frame / 50) * payload.length;
    const id = 6 + 4 * (frame % 50);
    box.frame(
      Direction.toClient,
      1,
      encodeFrame({ type: FrameType.DATA, id, generation: 1, offset, payload }),
    );
  }
  capture.close();
}
