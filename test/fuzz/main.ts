/**
 * `make fuzz [SECONDS=60] [ONLY=target] [SEED=…]`: the C targets and the TypeScript targets at the same time, each
 * lane for SECONDS. A progress line, a closing table, and for each crash the file that holds its input and the
 * command that repeats it. out/fuzz/report.json is for scripts/test.ts.
 */
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { bundleTargets } from './instrument.ts';
import { type Job, lanes } from './lanes.ts';
import { outFolder } from './places.ts';

interface Row {
  readonly job: Job;
  executions: number;
  corpus: number;
  coverage: string;
  residentMiB: number;
  seconds: number;
  crash?: string;
}

/** A worker's JSON line, or libFuzzer's. */
function take(row: Row, line: string): void {
  if (line.startsWith('{')) {
    const { executions, corpus, reached, counters, residentMiB, crash } = JSON.parse(line);
    row.executions = executions;
    row.corpus = corpus;
    row.residentMiB = residentMiB ?? row.residentMiB;
    if (reached !== undefined) row.coverage = `${reached} of ${counters}`;
    if (crash !== undefined) row.crash = `${crash.error}\n  repeat: ${row.job.repeat(crash.file)}`;
    return;
  }
  const counters = /\((\d+) inline 8-bit counters\)/.exec(line);
  if (counters) row.coverage = `of ${counters[1]}`;
  const progress = /^#(\d+)\s.*cov: (\d+) .*corp: (\d+)\//.exec(line);
  if (progress) {
    row.executions = Number(progress[1]);
    row.coverage = `${progress[2]} ${row.coverage.replace(/^\d+ /, '')}`;
    row.corpus = Number(progress[3]);
  }
  const resident = /rss: (\d+)Mb/.exec(line);
  if (resident) row.residentMiB = Number(resident[1]);
}

async function run(row: Row, seconds: number, seed: number): Promise<void> {
  const start = performance.now();
  mkdirSync(path.join(outFolder, 'found', row.job.name), { recursive: true });
  const [file = '', ...args] = row.job.command(Math.max(1, Math.round(seconds)), seed);
  const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  running.add(child);
  const words: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface(stream).on('line', (line) => {
      take(row, line);
      words.push(line);
      if (words.length > 60) words.shift();
    });
  }
  const code = await new Promise<number | string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (status, signal) => resolve(status ?? signal ?? 1));
  });
  running.delete(child);
  row.seconds = (performance.now() - start) / 1000;
  if (row.crash !== undefined || code === 0) return;
  const input = words
    .map((line) => /Test unit written to (\S+)/.exec(line)?.[1])
    .find((name) => name !== undefined);
  const hung = readdirSync(outFolder).find((name) => name === `hang-${row.job.name}`);
  const found = input ?? (hung && path.join(outFolder, hung));
  row.crash = `${words.join('\n')}\nended with ${code}\n  repeat: ${found ? row.job.repeat(found) : [file, ...args].join(' ')}`;
}

const running = new Set<ReturnType<typeof spawn>>();

function progressLine(rows: readonly Row[], start: number): string {
  const now = rows.filter((row) => row.seconds === 0 && row.executions > 0);
  const parts = now.map(
    (row) => `${row.job.language} ${row.job.name}: ${row.executions} inputs, ${row.coverage} reached`,
  );
  return `fuzz: ${Math.round((performance.now() - start) / 1000)} s  ${parts.join('  ')}`;
}

function table(rows: readonly Row[]): string {
  const lines = rows.map((row) =>
    [
      row.job.language.padEnd(11),
      row.job.name.padEnd(13),
      String(row.executions).padStart(9),
      String(row.corpus).padStart(7),
      row.coverage.padStart(14),
      row.residentMiB ? `${row.residentMiB} MiB`.padStart(9) : ' '.repeat(9),
      row.seconds.toFixed(0).padStart(6),
      String(row.crash === undefined ? 0 : 1).padStart(8),
    ].join(' '),
  );
  return [
    'language    target          inputs  corpus       coverage  resident      s  crashes',
    ...lines,
  ].join('\n');
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: { seconds: { type: 'string' }, seed: { type: 'string' }, only: { type: 'string' } },
  });
  const seconds = Number(values.seconds ?? 60);
  const seed = Number(values.seed || (Date.now() % 2 ** 31) + 1);
  rmSync(outFolder, { recursive: true, force: true });
  mkdirSync(outFolder, { recursive: true });
  console.log(`fuzz: ${seconds} s for each language, seed ${seed}`);
  await bundleTargets(readdirSync('test/fuzz/targets').map((file) => path.basename(file, '.ts')));
  const rows: Row[] = [];
  const start = performance.now();
  const everyMs = process.stdout.isTTY ? 1000 : 10_000;
  const timer = setInterval(() => {
    const line = progressLine(rows, start);
    process.stdout.write(
      process.stdout.isTTY ? `\r\x1b[K${line.slice(0, process.stdout.columns - 1)}` : `${line}\n`,
    );
  }, everyMs);
  await Promise.all(
    lanes.map(async (lane) => {
      const jobs = lane.filter((job) => !values.only || job.name === values.only);
      const shares = jobs.reduce((sum, job) => sum + job.share, 0);
      for (const job of jobs) {
        const row: Row = { job, executions: 0, corpus: 0, coverage: '', residentMiB: 0, seconds: 0 };
        rows.push(row);
        await run(row, (seconds * job.share) / shares, seed);
      }
    }),
  );
  clearInterval(timer);
  rows.sort((a, b) => a.job.language.localeCompare(b.job.language));
  console.log(`${process.stdout.isTTY ? '\r\x1b[K' : ''}\n${table(rows)}`);
  const crashes = rows.filter((row) => row.crash !== undefined);
  for (const row of crashes) console.log(`\n${row.job.language} ${row.job.name}: ${row.crash}`);
  const report = {
    passed: rows.length - crashes.length,
    failures: crashes.map(
      (row) => `fuzz ${row.job.language} ${row.job.name}: ${row.crash?.split('\n').at(-1)?.trim()}`,
    ),
  };
  writeFileSync(path.join(outFolder, 'report.json'), JSON.stringify(report));
  return rows.length > 0 && crashes.length === 0 ? 0 : 1;
}

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    for (const child of running) child.kill('SIGKILL');
    process.exit(130);
  });
}
process.exitCode = await main();
