/**
 * crun, the program that applies OCI configurations. The process that it makes inherits its stdio, so what
 * crun itself has to say goes to a log file.
 */
import { mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { acceptDescriptor, close, decodeWaitStatus, runAheadOfChildren, type WindowSize } from '@coracle/sys';
import type { RpcError } from '@coracle/wire';
import { crunError } from './crun-error.ts';
import { type CrunProgram, crunVersion, withOomScoreAdj } from './crun-program.ts';
import type { Reaper } from './reaper.ts';
import { type Ends, openNull, openPipes, openTerminal } from './stdio.ts';

export interface MadeProcess {
  readonly pid: number;
  readonly ends: Ends;
}

export interface MakeOptions {
  /** crun's command and its options, up to the id. */
  readonly command: readonly string[];
  readonly containerId: string;
  /** What is being tried, for messages: `start "sh" in container "web"`. */
  readonly what: string;
  readonly terminal: boolean;
  readonly stdin: boolean;
  readonly size: WindowSize | undefined;
  /** Of a process that is exec'ed. */
  readonly oomScoreAdj?: number | undefined;
}

export class Crun {
  readonly #program: CrunProgram;
  readonly #reaper: Reaper;
  /** Log files, pid files and console sockets of running crun processes; on a tmpfs in a guest. */
  readonly #folder: string;
  #runs = 0;
  #version: Promise<string> | undefined;

  constructor(program: CrunProgram, reaper: Reaper, stateFolder: string) {
    this.#program = program;
    this.#reaper = reaper;
    this.#folder = join(stateFolder, 'crun-runs');
    mkdirSync(this.#folder, { recursive: true });
  }

  version(): Promise<string> {
    this.#version ??= crunVersion(this.#program, this.#reaper);
    return this.#version;
  }

  /**
   * Runs a command that makes no process.
   * @throws RpcError with crun's words as its cause
   */
  async run(command: readonly string[], what: string): Promise<void> {
    const file = this.#newFile();
    const stdio = openNull();
    try {
      await this.#spawn(command, file, stdio.child, { what });
    } finally {
      stdio.close();
      remove(file);
    }
  }

  /**
   * Runs `create` or `exec --detach`, which leave a process to us. The caller holds the reaper's unknown
   * statuses until it watches the pid.
   * @throws RpcError: not_found and permission_denied with a cause for a command that can't be executed
   */
  async make(options: MakeOptions): Promise<MadeProcess> {
    const file = this.#newFile();
    try {
      const ends = options.terminal
        ? await this.#makeOnTerminal(options, file)
        : await this.#makeOnPipes(options, file);
      return { pid: Number(readFileSync(`${file}.pid`, 'utf8')), ends };
    } finally {
      remove(file);
    }
  }

  async #makeOnPipes(options: MakeOptions, file: string): Promise<Ends> {
    const stdio = openPipes({ stdin: options.stdin });
    let done: Promise<void>;
    try {
      done = this.#spawn(
        [...options.command, '--pid-file', `${file}.pid`, options.containerId],
        file,
        stdio.child,
        options,
      );
    } catch (error) {
      stdio.closeAll();
      throw error;
    }
    stdio.closeChildEnds();
    try {
      await done;
    } catch (error) {
      stdio.closeAgentEnds();
      throw error;
    }
    return stdio.ends;
  }

  async #makeOnTerminal(options: MakeOptions, file: string): Promise<Ends> {
    const abort = new AbortController();
    const socket = `${file}.tty`;
    // It listens when the call returns.
    const received = acceptDescriptor(socket, abort.signal);
    received.catch(() => {});
    const stdio = openNull();
    try {
      const console = ['--console-socket', socket, '--pid-file', `${file}.pid`];
      await this.#spawn(
        [...options.command, ...console, options.containerId],
        file,
        stdio.child,
        options,
        // For an exec crun sets the terminal's size while the program starts already, and nothing makes that wait
        // (libcrun_container_exec): on a busy machine one of five saw 0 columns. Ahead of its child crun wins.
        options.command[0] === 'exec' ? runAheadOfChildren : undefined,
      );
      return openTerminal((await received).descriptor, options.size);
    } catch (error) {
      abort.abort();
      received.then(({ descriptor }) => close(descriptor)).catch(() => {});
      throw error;
    } finally {
      stdio.close();
    }
  }

  /** @returns when crun has succeeded; throws at once when it can't be started */
  #spawn(
    command: readonly string[],
    file: string,
    descriptors: Readonly<Record<number, number>>,
    { what, oomScoreAdj }: Pick<MakeOptions, 'what' | 'oomScoreAdj'>,
    started?: (pid: number) => void,
  ): Promise<void> {
    const { argv, env, fixedAddresses } = this.#program;
    const args = withOomScoreAdj(
      [...argv, '--log', `${file}.log`, '--log-format', 'json', ...command],
      oomScoreAdj,
    );
    const status = this.#reaper.run(
      { file: args[0] as string, args, env, descriptors, fixedAddresses },
      started,
    );
    return status.then((waitStatus) => {
      const result = decodeWaitStatus(waitStatus);
      if (result.kind !== 'exited' || result.code !== 0) throw failure(file, what, waitStatus);
    });
  }

  #newFile(): string {
    return join(this.#folder, String(++this.#runs));
  }
}

function failure(file: string, what: string, waitStatus: number): RpcError {
  let text = '';
  try {
    text = readFileSync(`${file}.log`, 'utf8');
  } catch {
    // It ended before it had opened its log.
  }
  return crunError(text, what, waitStatus);
}

function remove(file: string): void {
  for (const suffix of ['log', 'pid']) rmSync(`${file}.${suffix}`, { force: true });
}
