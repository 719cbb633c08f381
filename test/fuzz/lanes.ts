/** The fuzz targets, how each is run, and which share of a lane's time it gets. The two lanes run side by side. */
import path from 'node:path';
import { corpusFolder, outFolder } from './places.ts';

export interface Job {
  readonly name: string;
  readonly language: 'C' | 'TypeScript';
  /** Of its lane's time. */
  readonly share: number;
  command(seconds: number, seed: number): readonly string[];
  /** How a person runs one input again. */
  repeat(file: string): string;
}

const binaries = '.build/shim';

function inC(name: string, share: number, maxBytes: number): Job {
  const binary = path.join(binaries, `fuzz-${name}`);
  return {
    name,
    language: 'C',
    share,
    command: (seconds, seed) => [
      binary,
      `-max_total_time=${seconds}`,
      `-seed=${seed}`,
      `-max_len=${maxBytes}`,
      '-timeout=10',
      '-rss_limit_mb=1024',
      '-print_final_stats=1',
      '-report_slow_units=5',
      `-artifact_prefix=${path.join(outFolder, `${name}-`)}`,
      // What is found goes to the first folder, the second is only read.
      path.join(outFolder, 'found', name),
      corpusFolder(name),
    ],
    repeat: (file) => `${binary} ${file}`,
  };
}

function inTypeScript(name: string, share: number): Job {
  return {
    name,
    language: 'TypeScript',
    share,
    command: (seconds, seed) => ['tsx', 'test/fuzz/worker.ts', name, String(seconds), String(seed)],
    repeat: (file) => `tsx test/fuzz/worker.ts ${name} repeat ${file}`,
  };
}

export const lanes: readonly (readonly Job[])[] = [
  [inC('bytes', 0.4, 16_384), inC('machine', 0.5, 1024), inC('text', 0.1, 4200)],
  [
    inTypeScript('decoder', 0.25),
    inTypeScript('payloads', 0.08),
    inTypeScript('messages', 0.12),
    inTypeScript('agent', 0.13),
    inTypeScript('client', 0.13),
    inTypeScript('proxy', 0.13),
    inTypeScript('streams', 0.08),
    {
      name: 'differential',
      language: 'TypeScript',
      share: 0.08,
      command: (seconds, seed) => ['tsx', 'test/fuzz/differential.ts', String(seconds), String(seed)],
      repeat: (file) => `tsx test/fuzz/differential.ts repeat ${file}`,
    },
  ],
];
