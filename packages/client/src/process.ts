/** A process of a container, as embedders see it: Node streams, signals, and one result however it ends. */
import type { Readable, Writable } from 'node:stream';
import { asRpcError, ExitCause, type ExitRecord, RpcError } from '@coracle/wire';
import { type Abortable, orAbort, throwIfAborted } from './abort.ts';
import type { Channel, ProcessHandle } from './channel.ts';
import { type ProcessResult, resultOfExit, resultOfLostVm } from './result.ts';
import type { Session } from './session.ts';
import { type SignalName, signalNumber } from './signals.ts';

export interface WindowSize {
  readonly columns: number;
  readonly rows: number;
}

/** What becomes of a process's streams on this side. */
export interface AttachOptions {
  /** `ignore`: output is thrown away in the guest, so a process whose output nobody reads is never held up. */
  readonly stdout?: 'pipe' | 'ignore';
  readonly stderr?: 'pipe' | 'ignore';
}

export interface OutputOptions extends Abortable {
  /** For stdout and stderr each; a process that writes more is killed. 16 MiB by default. */
  readonly maxBytes?: number;
}

export interface ProcessOutput {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly result: ProcessResult;
}

const DEFAULT_MAX_OUTPUT_BYTES = 16 * 1024 * 1024;
const MAX_WINDOW_CELLS = 0xffff;

/** How the agent is told which process is meant; without it only the attachment knows the process. */
export interface ProcessAddress {
  readonly containerId: string;
  /** Empty for the container's init process. */
  readonly execId: string;
}

export class ContainerProcess {
  readonly #session: Session;
  readonly #address: ProcessAddress | undefined;
  readonly #handle: ProcessHandle | undefined;
  readonly #channel: Channel | undefined;

  /** Made by Container and Sandbox. */
  constructor(
    session: Session,
    address: ProcessAddress | undefined,
    handle: ProcessHandle | undefined,
    channel: Channel | undefined,
  ) {
    this.#session = session;
    this.#address = address;
    this.#handle = handle;
    this.#channel = channel;
  }

  /**
   * What another program needs to attach to this process; keep the token secret.
   * @throws RpcError failed_precondition for a process that this program did not create
   */
  get handle(): ProcessHandle {
    if (this.#handle !== undefined) return this.#handle;
    throw new RpcError('failed_precondition', 'only the program that creates a process gets its handle');
  }

  /**
   * Ends with the end of file for the process. Writing fails with `EPIPE` when the process has closed its stdin or
   * has ended, or was started without stdin.
   * @throws RpcError failed_precondition when not attached
   */
  get stdin(): Writable {
    return this.#attachedChannel.stdin;
  }

  /**
   * The process's stdout, or its terminal. A reader that stops holds the process up once about 1 MiB is
   * unread; destroying it is closing a pipe: the process gets SIGPIPE. When the VM is lost it gives what
   * has come and then an error.
   * @throws RpcError failed_precondition when not attached
   */
  get stdout(): Readable {
    return this.#attachedChannel.stdout;
  }

  /** As stdout; empty with a terminal. @throws RpcError failed_precondition when not attached */
  get stderr(): Readable {
    return this.#attachedChannel.stderr;
  }

  /** Whether this program gets the process's streams. */
  get isAttached(): boolean {
    return this.#channel !== undefined;
  }

  /**
   * How it ended; any number of times, before and after. Resolves when the process has exited and all its
   * output is in this program, read or not. Output beyond 1 MiB that nobody reads holds the process, and so
   * its exit, back: read it, destroy it, or say `ignore`.
   *
   * @throws RpcError cancelled when `signal` aborts or the sandbox is closed, aborted when another client
   * has attached, data_loss when output was lost, not_found when the container was removed before
   */
  async wait({ signal }: Abortable = {}): Promise<ProcessResult> {
    if (this.#channel !== undefined) return await orAbort(this.#channel.result, signal);
    const { containerId, execId } = this.#requireAddress('wait for');
    try {
      const options = signal === undefined ? {} : { signal };
      const { exit } = await this.#session.call('waitProcess', { containerId, execId }, options);
      const cause = exit === undefined ? undefined : exitCauses.get(exit.cause);
      if (exit === undefined || cause === undefined) {
        throw new RpcError('internal', `the agent told no cause of the exit of ${containerId}`);
      }
      return resultOfExit({ cause, waitStatus: exit.waitStatus, message: exit.message });
    } catch (error) {
      const lost = this.#session.vmLost;
      if (lost !== undefined) return resultOfLostVm(lost);
      throw error;
    }
  }

  /**
   * Reads stdout and stderr to their ends and waits.
   * @throws RpcError resource_exhausted when there is more than `maxBytes` of either: the process is killed;
   * cancelled when `signal` aborts: the process goes on, its output is closed; and as `wait`
   */
  async output({ maxBytes = DEFAULT_MAX_OUTPUT_BYTES, signal }: OutputOptions = {}): Promise<ProcessOutput> {
    throwIfAborted(signal);
    const { stdout, stderr } = this.#attachedChannel;
    const close = (): void => {
      stdout.destroy();
      stderr.destroy();
    };
    try {
      const work = Promise.all([collect(stdout, maxBytes), collect(stderr, maxBytes), this.wait()]);
      const [out, err, result] = await orAbort(work, signal);
      return { stdout: out, stderr: err, result };
    } catch (error) {
      close();
      if (asRpcError(error).code === 'resource_exhausted') this.signal('SIGKILL');
      throw error;
    }
  }

  /**
   * Sends a signal to this process, in order with resizes and exactly once even if connections are lost.
   * @returns false when it has ended already
   * @throws RpcError invalid_argument for what is no signal, failed_precondition when not attached (then
   * `Container.signal` is the way)
   */
  signal(signal: SignalName): boolean {
    const number = signalNumber(signal);
    const channel = this.#attachedChannel;
    if (channel.settled || channel.exited) return false;
    channel.control({ kind: 'signal', signal: number });
    return true;
  }

  /**
   * Sets the size of its terminal; without a terminal nothing happens.
   * @throws RpcError invalid_argument for a size outside 0 to 65535, failed_precondition when not attached
   */
  resize(size: WindowSize): void {
    checkWindowSize(size);
    const channel = this.#attachedChannel;
    if (channel.settled || channel.exited) return;
    channel.control({ kind: 'resize', columns: size.columns, rows: size.rows });
  }

  get #attachedChannel(): Channel {
    if (this.#channel !== undefined) return this.#channel;
    throw new RpcError(
      'failed_precondition',
      'not attached to this process: it was created with attach: false, or by another program',
    );
  }

  #requireAddress(what: string): ProcessAddress {
    if (this.#address !== undefined) return this.#address;
    throw new RpcError('failed_precondition', `cannot ${what} a process of unknown container`);
  }
}

const exitCauses = new Map<ExitCause, ExitRecord['cause']>([
  [ExitCause.EXITED, 'exited'],
  [ExitCause.SIGNALLED, 'signalled'],
  [ExitCause.OUT_OF_MEMORY, 'out_of_memory'],
  [ExitCause.START_FAILED, 'start_failed'],
]);

/** @throws RpcError invalid_argument */
export function checkWindowSize({ columns, rows }: WindowSize): void {
  for (const cells of [columns, rows]) {
    if (!Number.isInteger(cells) || cells < 0 || cells > MAX_WINDOW_CELLS) {
      throw new RpcError('invalid_argument', `a terminal of ${columns} columns and ${rows} rows`);
    }
  }
}

async function collect(stream: Readable, maxBytes: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let total = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    total += chunk.length;
    if (total > maxBytes) {
      throw new RpcError('resource_exhausted', `the process wrote more than ${maxBytes} bytes to one stream`);
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks, total);
}
