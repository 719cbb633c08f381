/** Running programs of the host in tests: to their end with pipes, or at a terminal. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { write } from 'node:fs';
import { promisify } from 'node:util';
import {
  close,
  openPty,
  PtyStream,
  setWindowSize,
  spawn as sysSpawn,
  waitForExit,
  waitPid,
} from '@coracle/sys';
import { lastWords, until } from './wait.ts';

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
  const pipesClosed = new Promise((resolve) => child.on('close', resolve));
  const code = await new Promise<number>((resolve, reject) => {
    child.on('error', reject);
    // `exit` and not `close`: a detached container keeps the pipes.
    child.on('exit', (exitCode, signal) => resolve(exitCode ?? 128 + signalNumber(signal)));
  });
  if (child.stdin !== null) child.stdin.destroy();
  await lastWords(pipesClosed);
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
    await until(found, () => `the terminal shows ${what}, it shows ${JSON.stringify(this.shown)}`);
  }

  /** The terminal's modes, as stty prints them. */
  async modes(): Promise<string> {
    return (await run('/bin/stty', ['-F', this.slavePath, '-a'], {})).stdout;
  }

  /** Waits until it takes each key as it is typed: what is typed before is echoed here too. */
  async raw(): Promise<void> {
    await until(async () => / -icanon /.test(await this.modes()), 'the terminal is raw');
  }

  /** All that it wrote has come then. @returns the exit code as a shell says it */
  async ended(): Promise<number> {
    await waitForExit(this.pid);
    const status = waitPid(this.pid)!;
    await this.#whole();
    return (status & 0x7f) === 0 ? (status >> 8) & 0xff : 128 + (status & 0x7f);
  }

  /** Waits for what is on its way: until something of our own, written behind it, is there. */
  async #whole(): Promise<void> {
    if (this.#stream.destroyed) return;
    const mark = `\0${randomUUID()}`;
    await promisify(write)(this.#slave, Buffer.from(mark, 'latin1'));
    await until(() => this.shown.includes(mark), 'all that was written to the terminal has come');
    this.shown = this.shown.replace(mark, '');
  }

  resize(size: { columns: number; rows: number }): void {
    setWindowSize(this.master, size);
  }

  close(): void {
    this.#stream.destroy();
    close(this.#slave);
  }
}
