/**
 * One TypeScript target in a process of its own, so that its memory is its own: `worker.ts TARGET SECONDS SEED`
 * fuzzes it, `worker.ts TARGET repeat FILE` runs one input, `worker.ts TARGET minimise FOLDER…` leaves of all
 * inputs only those that reach something. Reports JSON lines.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fuzz } from './fuzzer.ts';
import { bundleOf, bundleTargets, loadTarget } from './instrument.ts';
import { corpusFolder, outFolder } from './places.ts';
import { hash } from './random.ts';
import type { Target } from './target.ts';
import { startWatchdog } from './watchdog.ts';

const MEMORY_MIB = 700;
/** An input takes milliseconds; two of these without an end, on a machine that does other things too, is for ever. */
const HANG_MS = 10_000;

const [name = '', mode = '', ...rest] = process.argv.slice(2);

function inputsIn(folder: string): Buffer[] {
  try {
    return readdirSync(folder).map((file) => readFileSync(path.join(folder, file)));
  } catch {
    return [];
  }
}

function report(line: object): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

function fileFor(input: Buffer): string {
  return path.join(outFolder, `crash-${name}-${hash(input).toString(16)}`);
}

/** main.ts has bundled all targets before it starts a run; whoever comes by hand gets the present sources. */
async function load(bundled: boolean): Promise<{ target: Target; counts: Uint32Array }> {
  mkdirSync(outFolder, { recursive: true });
  if (!bundled) await bundleTargets([name]);
  const { module, counts } = await loadTarget<{ target: Target }>(bundleOf(name));
  return { target: module.target, counts };
}

async function run(): Promise<void> {
  const { target, counts } = await load(true);
  const corpus = inputsIn(corpusFolder(name));
  const hung = path.join(outFolder, `hang-${name}`);
  rmSync(hung, { force: true });
  const result = await fuzz(target, counts, {
    seconds: Number(mode),
    seed: Number(rest[0] ?? 1),
    corpus,
    memoryMiB: MEMORY_MIB,
    onProgress: report,
    onInput: startWatchdog(hung, HANG_MS),
  });
  const { kept, crash, ...progress } = result;
  const found = path.join(outFolder, 'found', name);
  mkdirSync(found, { recursive: true });
  for (const input of kept) writeFileSync(path.join(found, hash(input).toString(16)), input);
  if (crash === undefined) return report({ ...progress, done: true });
  const file = fileFor(crash.input);
  writeFileSync(file, crash.input);
  const error =
    crash.error instanceof Error ? (crash.error.stack ?? crash.error.message) : String(crash.error);
  report({ ...progress, crash: { file, error } });
}

async function repeat(file: string): Promise<void> {
  const { target, counts } = await load(false);
  counts.fill(0);
  const input = readFileSync(file);
  await target.run(input);
  const work = counts.reduce((sum, count) => sum + count, 0);
  console.log(`${file}: nothing is broken; ${work} statements of ${target.workLimit(input.length)}`);
}

/** Small inputs first: of two that reach the same the smaller one stays. */
async function minimise(folders: readonly string[]): Promise<void> {
  const { target, counts } = await load(false);
  const corpus = folders.flatMap(inputsIn).sort((a, b) => a.length - b.length);
  const { kept } = await fuzz(target, counts, {
    seconds: 0,
    firstOnly: true,
    seed: 1,
    corpus,
    memoryMiB: MEMORY_MIB,
    onProgress: report,
  });
  const seeds = new Set([Buffer.alloc(0), ...target.seeds()].map((seed) => seed.toString('hex')));
  const folder = corpusFolder(name);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const files = kept.filter((input) => !seeds.has(input.toString('hex')));
  for (const input of files)
    writeFileSync(path.join(folder, hash(input).toString(16).padStart(8, '0')), input);
  console.log(`${folder}: ${files.length} of ${corpus.length} inputs`);
}

if (mode === 'repeat') await repeat(rest[0] ?? '');
else if (mode === 'minimise') await minimise(rest);
else await run();
process.exit(0);
