/** A container of a sandbox. */
import { randomBytes } from 'node:crypto';
import { RpcError, type StatsContainerResponse } from '@coracle/wire';
import { type Abortable, orAbort } from './abort.ts';
import type { ProcessHandle } from './channel.ts';
import { type ExecSpec, execProcess, type OciConfig, type OciUser } from './oci.ts';
import { type AttachOptions, ContainerProcess, checkWindowSize, type WindowSize } from './process.ts';
import type { Session } from './session.ts';
import { type SignalName, signalNumber } from './signals.ts';

export interface ExecOptions extends ExecSpec, AttachOptions, Abortable {
  readonly args: readonly string[];
  readonly env?: readonly string[] | Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly user?: OciUser;
  /** A terminal of this size, or of none yet (`true`). No terminal by default. */
  readonly terminal?: WindowSize | boolean;
  /** Whether `process.stdin` reaches it; otherwise it reads /dev/null. By default only with a terminal. */
  readonly stdin?: boolean;
  /** Unique within the container; random by default. */
  readonly id?: string;
  /** False: create it and leave its streams to whoever has `process.handle`. */
  readonly attach?: boolean;
}

export interface SignalOptions extends Abortable {
  /** Every process of the container and not only its init. */
  readonly all?: boolean;
  /** A process that was exec'ed, by its id. */
  readonly execId?: string;
}

export class Container {
  readonly id: string;
  /** The init process. */
  readonly process: ContainerProcess;
  readonly #session: Session;
  readonly #config: OciConfig | undefined;

  /** Made by Sandbox. */
  constructor(session: Session, id: string, config: OciConfig | undefined, process: ContainerProcess) {
    this.#session = session;
    this.id = id;
    this.#config = config;
    this.process = process;
  }

  /**
   * Lets the init process run.
   * @throws RpcError not_found or permission_denied for a command that is missing or may not run,
   * failed_precondition when it was started before
   */
  async start(options: Abortable = {}): Promise<void> {
    await this.#session.call('startContainer', { containerId: this.id }, callOptions(options));
  }

  /**
   * Starts another process. Given up by `signal`, it is killed should it have started all the same;
   * afterwards `signal` has no meaning.
   *
   * @throws RpcError not_found or permission_denied for a command that is missing or may not run,
   * failed_precondition when the container does not run, invalid_argument, already_exists for an id in use
   */
  async exec(options: ExecOptions): Promise<ContainerProcess> {
    const { signal, attach = true, terminal = false, id = randomBytes(8).toString('hex') } = options;
    const size = typeof terminal === 'object' ? terminal : { columns: 0, rows: 0 };
    checkWindowSize(size);
    const request = {
      containerId: this.id,
      execId: id,
      process: Buffer.from(JSON.stringify(execProcess(this.#config?.process, options))),
      stdin: options.stdin ?? terminal !== false,
      ...size,
    };
    const answer = await orAbort(this.#session.call('execProcess', request), signal, () =>
      this.signal('SIGKILL', { execId: id }),
    );
    const address = { containerId: this.id, execId: id };
    return processFrom(this.#session, address, answer.process, attach ? options : undefined);
  }

  /**
   * Sends a signal to the init process, to one by its exec id, or to all.
   * @throws RpcError failed_precondition when it does not run, not_found, invalid_argument for what is no signal
   */
  async signal(
    signal: SignalName,
    { all = false, execId = '', ...options }: SignalOptions = {},
  ): Promise<void> {
    const request = { containerId: this.id, execId, signal: signalNumber(signal), all };
    await this.#session.call('signalProcess', request, callOptions(options));
  }

  /** SIGKILL to every process of the container. @throws as `signal` */
  async kill(options: Abortable = {}): Promise<void> {
    await this.signal('SIGKILL', { ...options, all: true });
  }

  /** Freezes all its processes. @throws RpcError failed_precondition when it does not run */
  async pause(options: Abortable = {}): Promise<void> {
    await this.#session.call('pauseContainer', { containerId: this.id }, callOptions(options));
  }

  /** @throws RpcError failed_precondition when it is not paused */
  async resume(options: Abortable = {}): Promise<void> {
    await this.#session.call('resumeContainer', { containerId: this.id }, callOptions(options));
  }

  /** The pids of its processes as the VM sees them. */
  async processes(options: Abortable = {}): Promise<number[]> {
    const request = { containerId: this.id };
    return (await this.#session.call('listProcesses', request, callOptions(options))).pids;
  }

  /**
   * What it uses now, as its cgroup in the guest counts it.
   * @throws RpcError unimplemented with the local driver, which has no cgroups
   */
  async stats(options: Abortable = {}): Promise<StatsContainerResponse> {
    return await this.#session.call('statsContainer', { containerId: this.id }, callOptions(options));
  }

  /**
   * Changes its limits; those that `resources` does not name stay. The VM keeps its size.
   * @param resources `linux.resources` of the OCI runtime specification
   * @throws RpcError invalid_argument naming the field, failed_precondition when it does not run
   */
  async update(resources: object, options: Abortable = {}): Promise<void> {
    const request = { containerId: this.id, resources: Buffer.from(JSON.stringify(resources)) };
    await this.#session.call('updateContainer', request, callOptions(options));
  }

  /**
   * Resolves when the kernel has killed more than `known` of its processes for want of memory, or it has stopped. Begin
   * with `stats().memory.oomKills`, go on with the answer.
   */
  async outOfMemory(
    known: bigint,
    options: Abortable = {},
  ): Promise<{ readonly kills: bigint; readonly stopped: boolean }> {
    const request = { containerId: this.id, knownKills: known };
    return await this.#session.call('waitOutOfMemory', request, callOptions(options));
  }

  /**
   * Forgets the container, its processes and how they ended.
   * @throws RpcError failed_precondition when it still runs; with `force` it is killed
   */
  async remove({ force = false, ...options }: Abortable & { readonly force?: boolean } = {}): Promise<void> {
    await this.#session.call('removeContainer', { containerId: this.id, force }, callOptions(options));
  }
}

export function callOptions({ signal }: Abortable): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

/** `attach` undefined: the process is somebody else's to attach to. */
export function processFrom(
  session: Session,
  address: { containerId: string; execId: string },
  handle: ProcessHandle | undefined,
  attach: AttachOptions | undefined,
): ContainerProcess {
  if (handle === undefined) {
    throw new RpcError('internal', `the agent gave no handle of the process in ${address.containerId}`);
  }
  const channel =
    attach &&
    session.openChannel(handle, {
      stdout: attach.stdout ?? 'pipe',
      stderr: attach.stderr ?? 'pipe',
      sole: true,
    });
  return new ContainerProcess(session, address, handle, channel);
}
