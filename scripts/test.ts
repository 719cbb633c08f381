/**
 * `make test`: every tier, most of them one after the other, then what was left on the machine. Closes with the plain line
 * "N passed, N failed" that CI reads. A skipped test counts as failed: a machine that can't boot a VM must not
 * look green. `scripts/test.ts TIER…` runs only those.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, open, readdir, readFile, readlink, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TestReport } from './test-reporter.ts';

interface Outcome {
  readonly passed: number;
  readonly failed: number;
  /** What failed, for the closing table. */
  readonly failures: readonly string[];
}

const tiers: Record<string, () => Promise<Outcome>> = {
  types: async () =>
    both(await command('tsc', ['-p', '.']), await command('tsc', ['-p', 'packages/tap/page'])),
  lint: () => command('biome', ['check', '--error-on-warnings', '.']),
  proto: () => command('buf', ['lint']),
  generated: () => command('scripts/check-generated', []),
  shim: () => command('make', ['--silent', '-C', 'packages/shim', 'test']),
  sanitized: () => sanitized(),
  fuzz: () => fuzz(),
  unit: () => vitest('unit'),
  local: () => vitest('local'),
  tap: () => vitest('tap'),
  vm: () => onTemplates(() => vitest('vm')),
  clients: () => onTemplates(() => vitest('clients', { outputAtEnd: true })),
};
/** Beside the tier before it: both start one VM at a time, and each keeps one processor busy. */
const beside = new Set(['clients']);

async function main(): Promise<void> {
  const wanted = process.argv.slice(2);
  for (const name of wanted)
    if (!(name in tiers)) throw new Error(`no tier ${name}; there are ${Object.keys(tiers).join(', ')}`);
  const before = await onMachine();
  const rows: { name: string; seconds: number; outcome: Outcome }[] = [];
  const groups: string[][] = [];
  for (const name of Object.keys(tiers)) {
    if (wanted.length > 0 && !wanted.includes(name)) continue;
    if (beside.has(name) && groups.length > 0) groups.at(-1)?.push(name);
    else groups.push([name]);
  }
  for (const group of groups) {
    console.log(`\n── ${group.join(' and ')}`);
    const start = performance.now();
    const timed = async (name: string) => {
      const outcome = await (tiers[name] as () => Promise<Outcome>)();
      return { name, seconds: (performance.now() - start) / 1000, outcome };
    };
    rows.push(...(await Promise.all(group.map(timed))));
  }
  rows.push({ name: 'left behind', seconds: 0, outcome: await leftBehind(before) });

  console.log('');
  for (const { name, seconds, outcome } of rows) {
    const result = `${String(outcome.passed).padStart(5)} passed ${String(outcome.failed).padStart(4)} failed`;
    console.log(`${name.padEnd(12)}${result}${seconds.toFixed(1).padStart(8)} s`);
    for (const failure of outcome.failures)
      console.log(`    failed: ${failure.trimEnd().replaceAll('\n', '\n        ')}`);
  }
  const passed = rows.reduce((sum, row) => sum + row.outcome.passed, 0);
  const failed = rows.reduce((sum, row) => sum + row.outcome.failed, 0);
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

interface RunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** What it writes is shown when it has ended: something else runs beside it. */
  readonly outputAtEnd?: boolean;
}

async function run(
  file: string,
  args: readonly string[],
  { env = {}, outputAtEnd = false }: RunOptions = {},
): Promise<number> {
  // A file, not a pipe: what a test leaves behind may have it open for ever.
  const folder = outputAtEnd ? await mkdtemp(path.join(tmpdir(), 'coracle-output-')) : undefined;
  const output = folder === undefined ? undefined : await open(path.join(folder, 'output'), 'w+');
  const to = output?.fd ?? 'inherit';
  const child = spawn(file, args, { stdio: ['ignore', to, to], env: { ...process.env, ...env } });
  const [code] = (await once(child, 'exit')) as [number | null];
  if (folder !== undefined) {
    process.stdout.write(await readFile(path.join(folder, 'output')));
    await output?.close();
    await rm(folder, { recursive: true });
  }
  return code ?? 1;
}

function both(one: Outcome, other: Outcome): Outcome {
  return {
    passed: one.passed + other.passed,
    failed: one.failed + other.failed,
    failures: [...one.failures, ...other.failures],
  };
}

/** One command is one test. */
async function command(file: string, args: readonly string[]): Promise<Outcome> {
  const code = await run(file, args);
  if (code === 0) return { passed: 1, failed: 0, failures: [] };
  return { passed: 0, failed: 1, failures: [`${file} ${args.join(' ')} ended with ${code}`] };
}

/** Tests of C programs with those that have the sanitizers in them. What one finds fails, whoever reads its stderr. */
async function sanitized(): Promise<Outcome> {
  const built = await command('make', ['--silent', '-C', 'packages/shim', 'sanitized']);
  if (built.failed > 0) return built;
  const folder = await mkdtemp(path.join(tmpdir(), 'coracle-sanitizers-'));
  try {
    await chmod(folder, 0o1777); // a test runs the shim as another user
    process.env.CORACLE_SHIM = path.resolve('bin/coracle-shim.sanitized');
    process.env.CORACLE_NAMES = path.resolve('bin/coracle-names.sanitized');
    process.env.ASAN_OPTIONS = `detect_leaks=1:log_path=${path.join(folder, 'found')}`;
    const outcome = await vitest('local', { files: ['test/local/shim.test.ts', 'test/local/names.test.ts'] });
    const failures = [...outcome.failures];
    for (const name of await readdir(folder)) {
      const text = await readFile(path.join(folder, name), 'utf8');
      console.log(text);
      failures.push(/^.*(ERROR|runtime error).*$/m.exec(text)?.[0] ?? text.slice(0, 200));
    }
    return { passed: outcome.passed, failed: failures.length, failures };
  } finally {
    delete process.env.CORACLE_SHIM;
    delete process.env.CORACLE_NAMES;
    delete process.env.ASAN_OPTIONS;
    await rm(folder, { recursive: true, force: true });
  }
}

/** Tests start their VMs from a template where they do not say otherwise; none of them makes it behind its back. */
async function onTemplates(tests: () => Promise<Outcome>): Promise<Outcome> {
  const made = await command('bin/coracle', ['template', 'build']);
  return made.failed > 0 ? made : await tests();
}

/** Each fuzz target is one test. Both languages at the same time, a minute each. */
async function fuzz(): Promise<Outcome> {
  const built = await command('make', ['--silent', '-C', 'packages/shim', 'fuzz']);
  if (built.failed > 0) return built;
  const code = await run('tsx', ['test/fuzz/main.ts', '--seconds', '62']);
  const report = JSON.parse(
    await readFile('out/fuzz/report.json', 'utf8').catch(() => '{"passed":0,"failures":[]}'),
  );
  const failures = report.failures as string[];
  if (code !== 0 && failures.length === 0) failures.push(`test/fuzz/main.ts ended with ${code}`);
  return { passed: report.passed, failed: failures.length, failures };
}

async function vitest(
  project: string,
  { files = [], outputAtEnd = false }: { files?: readonly string[]; outputAtEnd?: boolean } = {},
): Promise<Outcome> {
  const folder = await mkdtemp(path.join(tmpdir(), 'coracle-report-'));
  try {
    const file = path.join(folder, 'report.json');
    const args = ['--reporter=default', '--reporter=./scripts/test-reporter.ts', ...files];
    const options = { env: { CORACLE_TEST_REPORT: file }, outputAtEnd };
    const code = await run('vitest', ['run', '--project', project, ...args], options);
    const { passed, failures } = JSON.parse(await readFile(file, 'utf8')) as TestReport;
    if (code !== 0 && failures.length === 0) failures.push(`vitest --project ${project} ended with ${code}`);
    if (passed + failures.length === 0) failures.push(`vitest --project ${project} found no test`);
    return { passed, failed: failures.length, failures };
  } catch (error) {
    return {
      passed: 0,
      failed: 1,
      failures: [`vitest --project ${project} gave no report: ${(error as Error).message}`],
    };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** Processes that are not part of this run, mounts and folders of ours, as text that can be compared. */
async function onMachine(): Promise<Set<string>> {
  const found = new Set<string>();
  const parents = await parentsOfProcesses();
  const inThisRun = (pid: number): boolean =>
    pid === process.pid || (pid > 1 && inThisRun(parents.get(pid) ?? 0));
  for (const pid of parents.keys()) {
    // What a test leaves has lost its parent.
    if (inThisRun(pid) || !(await mayBeOurs(pid))) continue;
    const words = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => ''))
      .split('\0')
      .slice(0, 4)
      .join(' ');
    found.add(`process ${pid} ${words}`);
  }
  for (const line of (await readFile('/proc/mounts', 'utf8')).split('\n')) {
    if (line.includes('coracle')) found.add(`mount ${line}`);
  }
  for (const name of await readdir(tmpdir()))
    if (name.startsWith('coracle-')) found.add(`folder ${path.join(tmpdir(), name)}`);
  for (const name of await readdir('/run').catch(() => []))
    if (name === 'coracle') found.add('folder /run/coracle');
  return found;
}

/** Our programs, and whatever runs in a container of the local driver. The machine has processes of its own. */
async function mayBeOurs(pid: number): Promise<boolean> {
  const link = (name: string) => readlink(`/proc/${pid}/${name}`).catch(() => '');
  const [program, namespace] = [await link('exe'), await link('ns/mnt')];
  if (program === '') return false;
  if (/^(qemu-system|virtiofsd|crun|runc|coracle)/.test(path.basename(program))) return true;
  // A shell, say, that runs a script of a test's folder.
  const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
  if (commandLine.includes(path.join(tmpdir(), 'coracle-'))) return true;
  return program.startsWith(`${process.cwd()}/`) || namespace !== (await readlink('/proc/self/ns/mnt'));
}

async function parentsOfProcesses(): Promise<Map<number, number>> {
  const parents = new Map<number, number>();
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    const parent = /^PPid:\s+(\d+)$/m.exec(status)?.[1];
    if (parent !== undefined) parents.set(Number(pid), Number(parent));
  }
  return parents;
}

/** Waits, with a deadline, until nothing is there that was not there before: a daemon may be on its way out. */
async function leftBehind(before: ReadonlySet<string>): Promise<Outcome> {
  const deadline = performance.now() + 15_000;
  for (;;) {
    const left = [...(await onMachine())].filter((thing) => !before.has(thing));
    if (left.length === 0) return { passed: 1, failed: 0, failures: [] };
    if (performance.now() > deadline) return { passed: 0, failed: left.length, failures: left };
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
}

await main();
