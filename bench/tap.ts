/**
 * What a capture costs the proxy while it switches output in frames of 32 KiB, each kind of content beside the same
 * without a capture; and how fast coracle-tap reads captures, of large frames and of headers alone.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, openSync, rmSync, statSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  Capture,
  type CaptureContent,
  captureContents,
  Direction,
  encodeFrame,
  FrameType,
  MAX_PAYLOAD_BYTES,
} from '@coracle/wire';
import type { Row } from './report.ts';
import { median } from './statistics.ts';
import { measure, type Sample, SwitchPlace, throughProxy } from './switch.ts';

const program = path.join(path.dirname(import.meta.dirname), 'bin/coracle-tap');
const FILE_BYTES = 100 * 1024 * 1024;
/** Of the proxy's processor time for the same bytes. */
const MOST_COST: Partial<Record<CaptureContent, number>> = { headers: 0.1, payload: 0.25 };

export async function benchTap(rounds: number): Promise<Row[]> {
  return [...(await costs(rounds)), ...reading(rounds)];
}

async function costs(rounds: number): Promise<Row[]> {
  const samples: Record<CaptureContent | 'off', Sample[]> = {
    off: [],
    headers: [],
    digests: [],
    payload: [],
  };
  for (let round = 0; round < rounds; round++) {
    for (const content of ['off', ...captureContents] as const) {
      await using place = new SwitchPlace();
      const way = await throughProxy(place, 'out');
      if (content !== 'off') await place.node('capture.ts', place.proxySocket, content);
      samples[content].push(await measure(way));
    }
  }
  const per = (content: CaptureContent | 'off'): number[] =>
    samples[content].map(({ perCpuSecond }) => perCpuSecond);
  const off = median(per('off'));
  return captureContents.map((content): Row => {
    const most = MOST_COST[content];
    const cost = off / median(per(content)) - 1;
    return {
      name: `switching output, captured: ${content}`,
      unit: 'MiB/s',
      samples: per(content),
      baseline: { name: 'no capture', samples: per('off') },
      ...(most === undefined
        ? {}
        : { target: { text: `at most ${most * 100} % more time`, atLeast: off / (1 + most) } }),
      note: `${(cost * 100).toFixed(0)} % more of the proxy's processor time for the same bytes`,
    };
  });
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
