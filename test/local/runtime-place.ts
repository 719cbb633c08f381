/** A place for tests of the command line: state, run folder and bundles of its own, and `bin/coracle` as it is installed. */
import { type ChildProcess, spawn } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { close, openPty, PtyStream, spawn as sysSpawn, waitForExit, waitPid } from '@coracle/sys';
import { containerConfig } from '../support/config.ts';
import { allProcesses, killPid, readProc } from '../support/processes.ts';
import { makeRootfs } from '../support/rootfs.ts';
import { until } from '../support/wait.ts';

export const repository = fileURLToPath(new URL('../..', import.meta.url));
export const coracle = join(repository, 'bin/coracle');

export interface Ended {
  /** As a shell says it. */
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Bytes for a pipe that is closed then; `open`: a pipe that stays open; `null`: /dev/null; `closed`: no fd 0. */
  readonly stdin?: string | Buffer | 'open' | 'null' | 'closed';
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly onStart?: (child: ChildProcess) => void;
}

export class RuntimePlace {
  readonly folder = mkdtempSync(join(tmpdir(), 'crt-'));
  readonly root = join(this.folder, 'state');
  readonly run = join(this.folder, 'run');
  readonly rootfs = join(this.folder, 'rootfs');
  readonly env: Record<string, string>;
  #bundles = 0;

  constructor() {
    if (!existsSync(coracle)) throw new Error(`${coracle} is not there: run make build`);
    makeRootfs(this.rootfs);
    this.env = {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: process.env.HOME ?? '/root',
      CORACLE_DRIVER: 'local',
      CORACLE_RUN: this.run,
    };
  }

  /** A bundle whose process runs `args`. `change` edits its config.json. */
  bundle(args: readonly string[], change: (config: never) => void = () => {}): string {
    const folder = join(this.folder, `bundle-${++this.#bundles}`);
    mkdirSync(folder);
    const config = containerConfig(args, { rootfs: this.rootfs });
    change(config as never);
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    return folder;
  }

  arguments(args: readonly string[]): string[] {
    return ['--root', this.root, ...args];
  }

  coracle(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return run(coracle, this.arguments(args), { ...options, env: { ...this.env, ...options.env } });
  }

  /** Runs `coracle` at a terminal of its own, as its session's leader. */
  atTerminal(args: readonly string[], size = { columns: 97, rows: 31 }): AtTerminal {
    return new AtTerminal(coracle, this.arguments(args), this.env, size);
  }

  /** Processes of this place: with its folder in their command line or environment. The shared proxy leaves by itself. */
  processes({ proxy = false } = {}): string[] {
    return allProcesses()
      .filter(
        ({ pid, commandLine }) =>
          (commandLine + readProc(pid, 'environ')).includes(this.folder) &&
          (proxy || !commandLine.includes('coracle-proxy')),
      )
      .map(({ pid, commandLine }) => `${pid} ${commandLine.replaceAll('\0', ' ')}`);
  }

  /** Containers that there are. */
  ids(): string[] {
    return existsSync(this.root) ? readdirSync(this.root) : [];
  }

  /** What a container leaves when it is gone: nothing but the shared proxy, which leaves when it is idle. */
  leftovers(): string[] {
    const folders = [this.root, join(this.run, 'sandboxes')].flatMap((folder) =>
      existsSync(folder) ? readdirSync(folder).map((name) => join(folder, name)) : [],
    );
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(this.folder));
    return [...folders, ...mounts, ...this.processes()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const line of this.processes({ proxy: true })) killPid(Number(line.split(' ')[0]), 'SIGKILL');
    await until(() => this.processes({ proxy: true }).length === 0, 'all processes are gone');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Runs a program to its end. */
export async function run(file: string, args: readonly string[], options: RunOptions): Promise<Ended> {
  const { stdin = 'null', env = {}, cwd, onStart } = options;
  const closed = stdin === 'closed';
  const child = spawn(
    closed ? '/bin/sh' : file,
    closed ? ['-c', 'exec "$@" <&-', 'sh', file, ...args] : [...args],
    {
      env,
      ...(cwd === undefined ? {} : { cwd }),
      stdio: [stdin === 'null' || closed ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    },
  );
  let [stdout, stderr] = ['', ''];
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr!.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  child.stdin?.on('error', () => {});
  if (child.stdin !== null && stdin !== 'open') child.stdin.end(stdin);
  onStart?.(child);
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    // `exit` and not `close`: a detached container keeps the pipes.
    child.on('exit', (exitCode, signal) => resolve(exitCode ?? 128 + signalNumber(signal)));
  });
  if (child.stdin !== null) child.stdin.destroy();
  await Promise.race([
    new Promise((resolve) => child.on('close', resolve)),
    new Promise((resolve) => setTimeout(resolve, 300)),
  ]);
  return { code, stdout, stderr };
}

function signalNumber(name: NodeJS.Signals | null): number {
  return { SIGTERM: 15, SIGKILL: 9, SIGINT: 2, SIGHUP: 1 }[name as 'SIGTERM'] ?? 0;
}

/** A program at a pty: what it shows is collected, what is written is typed. */
export class AtTerminal {
  readonly pid: number;
  readonly master: number;
  readonly slavePath: string;
  readonly #slave: number;
  readonly #stream: PtyStream;
  shown = '';

  constructor(
    file: string,
    args: readonly string[],
    env: Record<string, string>,
    size: { columns: number; rows: number },
  ) {
    const { master, slave, slavePath } = openPty(size);
    this.master = master;
    this.slavePath = slavePath;
    this.#slave = slave;
    this.#stream = new PtyStream(master);
    this.#stream.on('data', (bytes: Buffer) => {
      this.shown += bytes.toString('latin1');
    });
    this.pid = sysSpawn({
      file,
      args: [file, ...args],
      env: { ...env, TERM: 'xterm' },
      descriptors: {},
      terminal: slavePath,
      newSession: true,
    });
  }

  type(text: string): void {
    this.#stream.write(text);
  }

  async shows(what: string | RegExp): Promise<void> {
    const found = () => (typeof what === 'string' ? this.shown.includes(what) : what.test(this.shown));
    await until(found, `the terminal shows ${what}, it shows ${JSON.stringify(this.shown)}`);
  }

  /** The terminal's modes, as stty prints them. */
  async modes(): Promise<string> {
    return (await run('/bin/stty', ['-F', this.slavePath, '-a'], {})).stdout;
  }

  /** @returns the exit code as a shell says it */
  async ended(): Promise<number> {
    await waitForExit(this.pid);
    const status = waitPid(this.pid)!;
    return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
  }

  close(): void {
    this.#stream.destroy();
    close(this.#slave);
  }
}
