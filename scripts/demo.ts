/**
 * `make demo`: what Coracle does, shown with the commands that do it. Each step runs the real command line on
 * a real VM; a step that does not give what it should ends the demo with an error.
 */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream, mkdtempSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import path from 'node:path';
import { coracle, debianRoot, writeBundle } from './bundle.ts';

const colour = process.stdout.isTTY && process.env.NO_COLOR === undefined;
const paint = (code: number, text: string): string => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);

const times: { step: string; seconds: number }[] = [];
const folder = mkdtempSync(path.join(tmpdir(), 'coracle-demo-'));
const containers = new Set<string>();
const id = (name: string): string => `demo-${name}-${process.pid}`;

interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

interface ShowOptions {
  /** A file that becomes stdin. */
  readonly stdin?: string;
  /** Run it on a terminal of this size. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  /** The container keeps our stdio after the command has ended: give it none that we wait for. */
  readonly detached?: boolean;
}

/** Runs one command, shows it as a person would type it, shows what it printed. */
async function show(args: readonly string[], options: ShowOptions = {}): Promise<Ended> {
  const words = args.map((word) => (/^[\w./:=@%+,-]+$/.test(word) ? word : quote(word)));
  const from = options.stdin === undefined ? '' : ` < ${path.basename(options.stdin)}`;
  const typed = `coracle ${words.join(' ')}${from}${options.detached ? ' > /dev/null 2>&1' : ''}`;
  console.log(paint(36, `  $ ${typed.replaceAll(`${folder}/`, '')}`));
  const child = start(args, options);
  let [stdout, stderr] = ['', ''];
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (exitCode) => resolve(exitCode ?? 1));
  });
  for (const line of stdout.split(/\r?\n/).filter(Boolean)) console.log(`    ${line}`);
  for (const line of stderr.split(/\r?\n/).filter(Boolean)) console.log(paint(33, `    ${line}`));
  return { code, stdout: stdout.replaceAll('\r', ''), stderr };
}

function start(args: readonly string[], { stdin, terminal, detached }: ShowOptions): ChildProcess {
  if (detached) return spawn(coracle, args, { stdio: 'ignore' });
  if (terminal === undefined) {
    return spawn(coracle, args, {
      stdio: [stdin === undefined ? 'ignore' : openSync(stdin, 'r'), 'pipe', 'pipe'],
    });
  }
  const size = `stty columns ${terminal.columns} rows ${terminal.rows}`;
  const command = [coracle, ...args].map(quote).join(' ');
  // script(1) makes the terminal. Its own stdin stays open: at the end of it, it would type an end of file.
  return spawn('script', ['--quiet', '--return', '--command', `${size}; ${command}`, '/dev/null'], {
    stdio: 'pipe',
  });
}

function quote(word: string): string {
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

async function step(title: string, body: () => Promise<void>): Promise<void> {
  console.log(paint(1, `\n${times.length + 1}. ${title}`));
  const start = performance.now();
  await body();
  times.push({ step: title, seconds: (performance.now() - start) / 1000 });
}

/** A bundle of its own for each container; the root file system is shared and read-only. */
function bundle(name: string, rootfs: string, args: readonly string[]): string {
  const where = path.join(folder, name);
  writeBundle(where, rootfs, { args, hostname: name });
  containers.add(id(name));
  return where;
}

function must(condition: boolean, what: string): void {
  if (!condition) throw new Error(`the demo expected ${what}`);
}

async function sha256(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk as Buffer);
  return hash.digest('hex');
}

async function demo(): Promise<void> {
  const rootfs = debianRoot();

  const script = 'uname -sr; echo this goes to stderr >&2; exit 42';
  const kernel = bundle('kernel', rootfs, ['sh', '-c', script]);
  const ownKernel = async () => {
    const { code, stdout, stderr } = await show(['run', '--bundle', kernel, id('kernel')]);
    console.log(`    exit code ${code}; this host runs Linux ${release()}`);
    must(
      code === 42 && stdout.startsWith('Linux ') && stderr.includes('this goes to stderr'),
      'a kernel, a line on stderr and exit code 42',
    );
  };
  const boots = 'A container has its own kernel; stdout, stderr and exit code come back';
  await step(boots, ownKernel);

  await step('A VM that has booted is saved (done by itself, behind the first container)', async () => {
    const { code } = await show(['template', 'build']);
    must(code === 0, 'a template');
    await show(['template', 'list']);
  });

  const restored = 'The same container again, from the template';
  process.env.CORACLE_TEMPLATE = 'existing';
  await step(restored, ownKernel);
  compare([boots, restored]);

  await step('A pipeline: a file in, its sha256 out', async () => {
    const file = path.join(folder, 'random.bin');
    writeFileSync(file, randomBytes(8 * 1024 * 1024));
    const { stdout } = await show(
      ['run', '--bundle', bundle('pipeline', rootfs, ['sha256sum']), id('pipeline')],
      { stdin: file },
    );
    const expected = await sha256(file);
    console.log(`    the host says ${expected}`);
    must(stdout.startsWith(expected), 'the same digest');
  });

  const trap = 'trap "echo asked to end; exit 7" TERM; echo ready; while :; do sleep 0.1; done';
  const log = path.join(folder, 'service.log');
  let service: Promise<number> | undefined;
  await step('A service that keeps running', async () => {
    const where = bundle('service', rootfs, ['sh', '-c', trap]);
    console.log(paint(36, `  $ coracle run --bundle service ${id('service')} > service.log &`));
    const out = openSync(log, 'w');
    const child = spawn(coracle, ['run', '--bundle', where, id('service')], {
      stdio: ['ignore', out, 'inherit'],
    });
    service = new Promise((resolve) => child.on('close', (code) => resolve(code ?? 1)));
    await lineIn(log, 'ready', service);
    await show(['list']);
  });

  await step('A command in it, on a terminal with a size', async () => {
    const { stdout } = await show(
      ['exec', '--tty', id('service'), 'sh', '-c', 'tty; stty size; ps -e -o pid,args'],
      { terminal: { columns: 100, rows: 30 } },
    );
    must(/\/dev\/pts\/\d+\n30 100\n/.test(stdout), 'a terminal of 30 rows and 100 columns');
  });

  await step('Two containers cannot see each other', async () => {
    const where = bundle('neighbour', rootfs, ['sleep', '1000']);
    const { code } = await show(['run', '--detach', '--bundle', where, id('neighbour')], {
      detached: true,
    });
    must(code === 0, 'the neighbour to start');
    await show([
      'exec',
      id('neighbour'),
      'sh',
      '-c',
      'hostname; echo secret > /tmp/note; ls /tmp; ps -e -o args',
    ]);
    const { stdout } = await show(['exec', id('service'), 'sh', '-c', 'hostname; ls /tmp; ps -e -o args']);
    must(!stdout.includes('note') && !stdout.includes('sleep 1000'), 'the service not to see its neighbour');
    await show(['delete', '--force', id('neighbour')]);
  });

  await step('A signal is delivered, and the program answers it', async () => {
    await show(['kill', id('service'), 'TERM']);
    const code = await (service as Promise<number>);
    console.log(
      `    service.log: ${execFileSync('tail', ['-n', '1', log], { encoding: 'utf8' }).trim()}\n    exit code ${code}`,
    );
    must(code === 7, 'exit code 7');
  });
}

/** Two steps side by side. */
function compare(titles: readonly string[]): void {
  const shown = times.filter(({ step: title }) => titles.includes(title));
  const longest = Math.max(...shown.map(({ seconds }) => seconds));
  for (const [index, { seconds }] of shown.entries()) {
    const bar = '█'.repeat(Math.ceil((seconds / longest) * 48));
    const name = index === 0 ? 'booted' : 'template';
    console.log(`    ${name.padEnd(9)} ${seconds.toFixed(2).padStart(5)} s ${paint(32, bar)}`);
  }
}

/** Waits until `text` stands in the file; ends when the process that writes it does. */
async function lineIn(file: string, text: string, ended: Promise<number>): Promise<void> {
  let over: number | undefined;
  void ended.then((code) => (over = code));
  const deadline = performance.now() + 60_000;
  while (!execFileSync('cat', [file], { encoding: 'utf8' }).includes(text)) {
    if (over !== undefined) throw new Error(`the container ended with ${over} before it was ready`);
    if (performance.now() > deadline) throw new Error(`${JSON.stringify(text)} did not come within a minute`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function tidy(): void {
  for (const container of containers) {
    try {
      execFileSync(coracle, ['delete', '--force', container], { stdio: 'ignore' });
    } catch {
      // It is gone already: `run` deletes what it made.
    }
  }
  rmSync(folder, { recursive: true, force: true });
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.once(signal, () => {
    tidy();
    process.exit(130);
  });
}

process.env.CORACLE_TEMPLATE = 'off';
try {
  await demo();
  console.log(paint(1, '\nHow long each step took'));
  const longest = Math.max(...times.map(({ seconds }) => seconds));
  for (const { step: title, seconds } of times) {
    console.log(
      `  ${title.padEnd(72)} ${seconds.toFixed(1).padStart(5)} s ${paint(32, '█'.repeat(Math.ceil((seconds / longest) * 24)))}`,
    );
  }
} catch (error) {
  console.error(paint(31, `demo: ${(error as Error).message}`));
  process.exitCode = 1;
} finally {
  tidy();
}
