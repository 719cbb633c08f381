/** Where the contract suites work: state, run folder, root file system and bundles of their own, for one driver. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createHash, type Hash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Container, Coracle, type Sandbox } from '@coracle/client';
import { readRecord } from '@coracle/vm';
import { type Config, containerConfig } from '../support/config.ts';
import { allProcesses, killPid, readProc } from '../support/processes.ts';
import { makeRootfs } from '../support/rootfs.ts';
import { lastWords, until, within } from '../support/wait.ts';

export { killPid, until, within };

export const checkout = fileURLToPath(new URL('../..', import.meta.url));
export const coracleProgram = join(checkout, 'bin/coracle');
export const MiB = 1024 * 1024;
/** For execs of the library: it knows nothing of config.json. */
export const guestEnv = ['PATH=/bin', 'TERM=xterm'];

export type DriverName = 'local' | 'qemu';
export type TransportName = 'auto' | 'virtio-serial' | 'unix' | 'hybrid' | 'hybrid-listen' | 'vsock';

/** As a shell says it, with output byte by byte (latin1). */
export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  /** Bytes for a pipe that is closed then; `open`: a pipe that stays open; `null`: /dev/null. */
  readonly stdin?: string | Buffer | 'open' | 'null' | undefined;
  readonly env?: Readonly<Record<string, string>>;
  readonly deadlineMs?: number;
}

/** What state.json and vm.json say of a container. */
export interface ContainerFiles {
  readonly sandboxId: string;
  readonly sandboxDirectory: string;
  readonly proxySocket: string;
  readonly shim?: { readonly pid: number };
}

export class Place {
  readonly driver: DriverName;
  /** Short: it is part of the paths of unix sockets. */
  readonly folder = mkdtempSync(join(tmpdir(), 'coracle-c'));
  readonly root = join(this.folder, 'state');
  readonly runFolder = join(this.folder, 'run');
  readonly rootfs = join(this.folder, 'rootfs');
  readonly env: Readonly<Record<string, string>>;
  #bundles = 0;
  #ids = 0;

  constructor(driver: DriverName, transport: TransportName = 'auto') {
    if (!existsSync(coracleProgram)) throw new Error(`${coracleProgram} is not there: run make build`);
    this.driver = driver;
    makeRootfs(this.rootfs);
    this.env = {
      PATH: '/usr/sbin:/usr/bin:/sbin:/bin',
      HOME: process.env.HOME ?? '/root',
      CORACLE_DRIVER: driver,
      CORACLE_TRANSPORT: transport,
      CORACLE_RUN: this.runFolder,
      // Whoever runs the tests makes the template (scripts/test.ts): no test has one made behind its back.
      CORACLE_TEMPLATE: process.env.CORACLE_TEMPLATE ?? 'existing',
      ...(process.env.CORACLE_IMAGE === undefined ? {} : { CORACLE_IMAGE: process.env.CORACLE_IMAGE }),
    };
  }

  newId(): string {
    return `c${++this.#ids}`;
  }

  /** A bundle whose process runs `args`. */
  bundle(args: readonly string[], change: (config: Config) => void = () => {}): string {
    const folder = join(this.folder, `bundle-${++this.#bundles}`);
    mkdirSync(folder);
    const config = containerConfig(args, { rootfs: this.rootfs });
    change(config);
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    return folder;
  }

  terminalBundle(args: readonly string[]): string {
    return this.bundle(args, (config) => {
      config.process.terminal = true;
    });
  }

  arguments(args: readonly string[]): string[] {
    return ['--root', this.root, ...args];
  }

  coracle(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return run(coracleProgram, this.arguments(args), this.#with(options));
  }

  start(args: readonly string[], options: RunOptions = {}): Running {
    return new Running(coracleProgram, this.arguments(args), this.#with(options));
  }

  /** The oracle: the same bundle and command by runc. */
  runc(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return run('/usr/sbin/runc', this.runcArguments(args), this.#with(options));
  }

  runcArguments(args: readonly string[]): string[] {
    return ['--root', join(this.folder, 'runc'), ...args];
  }

  #with(options: RunOptions): RunOptions {
    return { ...options, env: { ...this.env, ...options.env } };
  }

  files(id: string): ContainerFiles {
    return JSON.parse(readFileSync(join(this.root, id, 'state.json'), 'utf8'));
  }

  /** The pid of QEMU, or of the local driver's agent. */
  vmPid(id: string): number {
    const pid = readRecord(this.files(id).sandboxDirectory)?.main?.pid;
    if (pid === undefined) throw new Error(`container ${id} has no VM`);
    return pid;
  }

  async status(id: string): Promise<string> {
    const { code, stdout, stderr } = await this.coracle(['state', id]);
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout).status;
  }

  /** What belongs to this place: processes that say its folder, mounts, and state. */
  left(): string[] {
    const folders = [this.root, join(this.runFolder, 'sandboxes')].flatMap((folder) =>
      existsSync(folder) ? readdirSync(folder).map((name) => `folder ${join(folder, name)}`) : [],
    );
    const mounts = readFileSync('/proc/self/mounts', 'utf8')
      .split('\n')
      .filter((line) => line.includes(this.folder))
      .map((line) => `mount ${line}`);
    return [...folders, ...mounts, ...this.processes().filter((line) => !line.includes('coracle-proxy'))];
  }

  /** With the folder in their command line or environment, or the root file system as their root. */
  processes(): string[] {
    return allProcesses()
      .filter(
        ({ pid, commandLine }) =>
          (commandLine + readProc(pid, 'environ')).includes(this.folder) ||
          readProc(pid, 'mountinfo').includes(` ${this.rootfs} / `),
      )
      .map(({ pid, commandLine }) => `${pid} ${commandLine.replaceAll('\0', ' ')}`);
  }

  /** @throws Error naming what is still there after the deadline */
  async expectNothingLeft(): Promise<void> {
    await until(
      () => this.left().length === 0,
      () => `nothing is left; left are\n${this.left().join('\n')}`,
    );
  }

  /** kill -9 of the proxy that listens now. @returns how many were killed; resolves when they are gone */
  async killProxy(): Promise<number> {
    const pids = this.#pidsOf('coracle-proxy');
    for (const pid of pids) killPid(pid, 'SIGKILL');
    await until(() => pids.every((pid) => !existsSync(`/proc/${pid}`)), 'the proxy is gone');
    return pids.length;
  }

  #pidsOf(word: string): number[] {
    return this.processes()
      .filter((line) => line.includes(word))
      .map((line) => Number(line.split(' ')[0]));
  }

  /** Local tier: containers have no VM that would die with their agent, so their processes outlive it. */
  killStrays(): void {
    for (const line of this.processes())
      if (!line.includes('coracle')) killPid(Number(line.split(' ')[0]), 'SIGKILL');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const line of this.processes()) killPid(Number(line.split(' ')[0]), 'SIGKILL');
    await until(() => this.processes().length === 0, 'all processes are gone');
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A program that runs: its descriptors are sockets, as Node makes them. */
export class Running {
  readonly child: ChildProcess;
  readonly #exit: Promise<number>;
  #stderr = '';

  constructor(file: string, args: readonly string[], { stdin = 'null', env = {} }: RunOptions) {
    const child = spawn(file, args, {
      env: { ...env },
      stdio: [stdin === 'null' ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    });
    this.child = child;
    child.stdin?.on('error', () => undefined);
    if (stdin !== 'open' && stdin !== 'null') child.stdin?.end(stdin);
    child.stderr!.setEncoding('latin1').on('data', (text: string) => {
      this.#stderr += text;
    });
    // `exit` and not `close`: a detached container keeps the pipes.
    this.#exit = new Promise((resolve, reject) => {
      child.on('error', reject);
      child.on('exit', (code, signal) => resolve(code ?? 128 + constants.signals[signal!]));
    });
    this.#exit.catch(() => undefined);
  }

  get pid(): number {
    return this.child.pid!;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** The exit code as a shell says it. */
  async ended(deadlineMs = 60_000): Promise<number> {
    return await within(this.#exit, deadlineMs, `${this.child.spawnargs.join(' ')} ends`);
  }

  /** Reads stdout until it has the text; what follows stays to be read. @returns what was read */
  async says(text: string, deadlineMs = 60_000): Promise<string> {
    const stdout = this.child.stdout!;
    let said = '';
    const found = new Promise<void>((resolve, reject) => {
      const onReadable = () => {
        for (let chunk = stdout.read(); chunk !== null; chunk = stdout.read()) {
          said += (chunk as Buffer).toString('latin1');
          if (!said.includes(text)) continue;
          stdout.off('readable', onReadable);
          return resolve();
        }
      };
      stdout.on('readable', onReadable);
      stdout.on('end', () => reject(new Error(`stdout ended with ${said} and stderr ${this.#stderr}`)));
      onReadable();
    });
    await within(found, deadlineMs, `stdout says ${text}, it says ${said}, stderr ${this.#stderr}`);
    return said;
  }
}

/** Runs a program to its end. */
export async function run(file: string, args: readonly string[], options: RunOptions): Promise<Ended> {
  const running = new Running(file, args, options);
  let stdout = '';
  running.child.stdout!.setEncoding('latin1').on('data', (text: string) => {
    stdout += text;
  });
  const closed = new Promise((resolve) => running.child.on('close', resolve));
  try {
    const code = await running.ended(options.deadlineMs);
    await lastWords(closed);
    return { code, stdout, stderr: running.stderr };
  } catch (error) {
    killPid(running.pid, 'SIGKILL');
    throw new Error(`${(error as Error).message}; stdout ${stdout.slice(-2000)}, stderr ${running.stderr}`);
  } finally {
    running.child.stdin?.destroy();
  }
}

/** A container whose init sleeps, in its own VM, reached by command line and library. */
export class SharedContainer implements AsyncDisposable {
  readonly place: Place;
  readonly id: string;
  readonly container: Container;
  readonly sandbox: Sandbox;
  readonly #coracle: Coracle;

  private constructor(place: Place, id: string, coracle: Coracle, sandbox: Sandbox) {
    this.place = place;
    this.id = id;
    this.#coracle = coracle;
    this.sandbox = sandbox;
    this.container = sandbox.container(id);
  }

  static async start(place: Place, change?: (config: Config) => void): Promise<SharedContainer> {
    const id = place.newId();
    const bundle = place.bundle(['sleep', '100000'], change);
    const ended = await place.coracle(['run', '-d', '--bundle', bundle, id], {
      deadlineMs: 120_000,
    });
    if (ended.code !== 0) throw new Error(`no container: ${ended.stderr}`);
    const { sandboxId, sandboxDirectory, proxySocket } = place.files(id);
    const coracle = new Coracle({
      proxy: proxySocket,
      sandboxes: join(sandboxDirectory, '..'),
      // As another coracle command would start it.
      startProxy: async () => {
        await place.coracle(['exec', id, 'true']);
      },
    });
    return new SharedContainer(place, id, coracle, await coracle.connect(sandboxId));
  }

  /** Another client of the same sandbox, with a connection of its own. */
  connect(): Promise<Sandbox> {
    return this.#coracle.connect(this.sandbox.id);
  }

  exec(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
    return this.place.coracle(['exec', this.id, ...args], options);
  }

  startExec(args: readonly string[], options: RunOptions = {}): Running {
    return this.place.start(['exec', this.id, ...args], options);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.sandbox.close();
    const { code, stderr } = await this.place.coracle(['delete', '--force', this.id]);
    if (code !== 0) throw new Error(stderr);
  }
}

/** Random bytes with their sum, in the root file system as /tmp/random. */
export class RandomFile {
  readonly path: string;
  readonly bytes: Buffer;
  readonly sha256: string;

  constructor(place: Place, size: number) {
    this.path = join(place.rootfs, 'tmp/random');
    this.bytes = randomBytes(size);
    this.sha256 = sha256().update(this.bytes).digest('hex');
    writeFileSync(this.path, this.bytes);
  }
}

export const sha256 = (): Hash => createHash('sha256');
