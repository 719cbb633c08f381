/** A sandbox: one VM and its containers. */
import { randomUUID } from 'node:crypto';
import {
  asRpcError,
  type BootStage,
  type CaptureContent,
  type GuestMemory,
  isRpcError,
  type LinkCounters,
  RpcError,
  type UpdateNetworkRequest,
} from '@coracle/wire';
import { type Abortable, orAbort } from './abort.ts';
import type { ProcessHandle } from './channel.ts';
import { Container, callOptions, processFrom } from './container.ts';
import type { OciConfig } from './oci.ts';
import { type AttachOptions, ContainerProcess, checkWindowSize, type WindowSize } from './process.ts';
import type { Session } from './session.ts';
import type { SharePath } from './vm.ts';

export interface CreateContainerOptions extends AttachOptions, Abortable {
  readonly id: string;
  /** The OCI runtime configuration, as in config.json. */
  readonly config: OciConfig;
  /** The container's root file system. */
  readonly rootfs: SharePath;
  /** Whether `process.stdin` reaches the init process; otherwise it reads /dev/null. By default only with a terminal. */
  readonly stdin?: boolean;
  /** Initial size of the terminal, when the configuration asks for one. */
  readonly terminalSize?: WindowSize;
  /** For bind mounts of host files: index into `config.mounts`, and where the source is in a share. */
  readonly bindSources?: readonly (SharePath & { readonly mount: number })[];
  /** False: create it and leave its streams to whoever has `process.handle`. */
  readonly attach?: boolean;
}

/** Interfaces that the VM has, addresses, routes and neighbours: proto/coracle/v1/agent.proto has each field. */
export type SandboxNetwork = UpdateNetworkRequest;

export interface SandboxDetails {
  readonly sandboxId: string;
  readonly agentVersion: string;
  /** As uname(2) gives it. */
  readonly kernelRelease: string;
  readonly nodeVersion: string;
  readonly crunVersion: string;
  /** True when the agent is a process of this host: nothing is isolated. */
  readonly local: boolean;
  readonly residentBytes: number;
  /** From the guest kernel's start to the agent's readiness. */
  readonly bootMs: number;
  /** How the guest came up, by its own clock; empty when `local`. */
  readonly bootStages: readonly BootStage[];
  /** From the guest kernel's start to this answer; 0 when `local`. */
  readonly uptimeMs: number;
  /** The guest's; undefined when `local`. */
  readonly memory: { readonly [K in keyof GuestMemory]: number } | undefined;
  /** What has crossed the agent's end of the link, rehearsals left out. */
  readonly link: { readonly [K in keyof LinkCounters]: number } | undefined;
}

/** For a sandbox whose VM this program has started. */
export interface SandboxOwner {
  /** Ends the VM and removes its folder. Idempotent. */
  stop(options: { readonly force: boolean }): Promise<void>;
  /** Translates for the local driver. */
  resolvePath(path: SharePath): string;
}

export interface DestroyOptions extends Abortable {
  /** Ends the VM without asking the guest. Only for a sandbox that this program has started. */
  readonly force?: boolean;
}

/** How long `await using` lets the guest end its containers before the VM is ended by force. */
const DISPOSE_GRACE_MS = 10_000;

export class Sandbox implements AsyncDisposable {
  readonly id: string;
  readonly #session: Session;
  readonly #owner: SandboxOwner | undefined;

  /** Made by Coracle. */
  constructor(session: Session, owner?: SandboxOwner) {
    this.id = session.sandboxId;
    this.#session = session;
    this.#owner = owner;
  }

  /**
   * Creates a container whose init process waits for `start`. Given up by `signal`, it is removed should it
   * have been created all the same.
   *
   * @throws RpcError invalid_argument naming the field of the configuration, already_exists, not_found for a
   * root file system or bind source that is not there
   */
  async createContainer(options: CreateContainerOptions): Promise<Container> {
    const { id, config, rootfs, terminalSize = { columns: 0, rows: 0 }, signal, attach = true } = options;
    checkWindowSize(terminalSize);
    const path = (at: SharePath): string => this.#owner?.resolvePath(at) ?? at.path;
    const request = {
      containerId: id,
      config: Buffer.from(JSON.stringify(config)),
      rootfsShare: rootfs.share,
      rootfsPath: path(rootfs),
      bindSources: (options.bindSources ?? []).map((bind) => ({
        mount: bind.mount,
        share: bind.share,
        path: path(bind),
      })),
      stdin: options.stdin ?? config.process?.terminal === true,
      columns: terminalSize.columns,
      rows: terminalSize.rows,
    };
    const answer = await orAbort(this.#session.call('createContainer', request), signal, () =>
      this.#session.call('removeContainer', { containerId: id, force: true }),
    );
    const address = { containerId: id, execId: '' };
    const process = processFrom(this.#session, address, answer.process, attach ? options : undefined);
    return new Container(this.#session, id, config, process);
  }

  /**
   * A container that exists already, made by another program. Its process can be waited for, but not attached
   * to. `config` is what exec takes the environment, user and capabilities from.
   */
  container(id: string, config?: OciConfig): Container {
    const process = new ContainerProcess(
      this.#session,
      { containerId: id, execId: '' },
      undefined,
      undefined,
    );
    return new Container(this.#session, id, config, process);
  }

  /**
   * Takes over the streams of a process that another program has created; that program's attachment ends.
   * What it has delivered is not given again.
   *
   * @throws RpcError not_found, permission_denied for a wrong token, unavailable when the VM is gone, cancelled
   */
  async attach(handle: ProcessHandle, options: AttachOptions & Abortable = {}): Promise<ContainerProcess> {
    const { stdout = 'pipe', stderr = 'pipe', signal } = options;
    const channel = this.#session.openChannel(handle, { stdout, stderr, sole: false });
    try {
      await orAbort(channel.attached, signal);
    } catch (error) {
      channel.fail(asRpcError(error));
      throw error;
    }
    return new ContainerProcess(this.#session, undefined, handle, channel);
  }

  /**
   * The frames of the link as the agent receives and sends them, a section of pcapng as it comes, until the signal aborts
   * (docs/capture.md, "In the agent"). When the link was made anew meanwhile the capture begins again, with a new section.
   */
  async *capture({
    content = 'digests',
    signal,
  }: { readonly content?: CaptureContent } & Abortable = {}): AsyncGenerator<Buffer> {
    let [captureId, offset] = [randomUUID(), 0];
    while (signal?.aborted !== true) {
      try {
        const request = { captureId, content, offset: BigInt(offset) };
        const { pcapng } = await this.#session.call('readCapture', request, callOptions({ signal }));
        offset += pcapng.length;
        yield Buffer.from(pcapng);
      } catch (error) {
        if (signal?.aborted) return;
        if (!isRpcError(error) || error.code !== 'not_found' || offset === 0) throw error;
        [captureId, offset] = [randomUUID(), 0];
      }
    }
  }

  /** Who answers in the guest, and how it does. */
  async details(options: Abortable = {}): Promise<SandboxDetails> {
    const details = await this.#session.call('getAgentDetails', {}, callOptions(options));
    return {
      ...details,
      residentBytes: Number(details.residentBytes),
      bootMs: Number(details.bootMs),
      memory: details.memory && inNumbers(details.memory),
      link: details.link && inNumbers(details.link),
    };
  }

  /**
   * Sets the guest's clock to this host's. The proxy does so when the host's own clock jumps, as after a suspend; a VM
   * that was paused by itself (`Vm.pause`) stays behind by as long as it stood still.
   */
  async setClock(options: Abortable = {}): Promise<void> {
    await this.#session.call(
      'setClock',
      { hostTimeNs: BigInt(Date.now()) * 1_000_000n },
      callOptions(options),
    );
  }

  /**
   * Makes the VM's network this one, and waits for interfaces that were just plugged in. What an earlier call has set and this
   * one does not name is taken back.
   *
   * @throws RpcError invalid_argument naming the field, deadline_exceeded for an interface that the guest does not have,
   * failed_precondition with what its kernel said
   */
  async updateNetwork(network: SandboxNetwork, options: Abortable = {}): Promise<void> {
    await this.#session.call('updateNetwork', network, callOptions(options));
  }

  /**
   * Has the agent listen for DNS queries at an address of the guest's loopback, port 53, and hand them to whoever attaches to
   * the process: proto/coracle/v1/agent.proto, ForwardNames. A further call replaces the former one.
   *
   * @throws RpcError invalid_argument for an address that is not of the loopback; failed_precondition without a VM
   */
  async forwardNames(address: string, options: Abortable = {}): Promise<ProcessHandle> {
    const { process } = await this.#session.call('forwardNames', { address }, callOptions(options));
    if (process === undefined) throw new RpcError('internal', 'the agent gave no handle of the name server');
    return process;
  }

  /**
   * Removes all containers and powers the VM off. For a sandbox that this program has started the VM's
   * processes and folder are gone afterwards; otherwise they are left to whoever started it. More than once is fine.
   *
   * @throws RpcError cancelled when `signal` aborts: the VM may go on, `force` ends it; failed_precondition
   * for `force` without having started the VM
   */
  async destroy({ force = false, signal }: DestroyOptions = {}): Promise<void> {
    if (force && this.#owner === undefined) {
      throw new RpcError(
        'failed_precondition',
        `cannot end the VM of sandbox ${this.id} by force: another program has started it`,
      );
    }
    if (!force) await this.#askGuest(signal);
    this.close();
    await this.#owner?.stop({ force });
  }

  async #askGuest(signal: AbortSignal | undefined): Promise<void> {
    try {
      await this.#session.call('destroySandbox', {}, callOptions({ signal }));
    } catch (error) {
      // Gone already, maybe before its answer came; or closed by us, and then the VM is ended from outside.
      const endedAnyway = this.#session.vmLost !== undefined || this.#session.isClosed;
      if (!endedAnyway) throw error;
    }
  }

  /** Ends this program's connection; the sandbox and its processes go on. Waiting calls reject with `cancelled`. */
  close(): void {
    this.#session.close();
  }

  /** Destroys the sandbox when this program has started it, otherwise only closes the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#owner === undefined) {
      this.close();
      return;
    }
    try {
      await this.destroy({ signal: AbortSignal.timeout(DISPOSE_GRACE_MS) });
    } catch {
      await this.destroy({ force: true });
    }
  }
}

function inNumbers<Fields extends object>(fields: Fields): { readonly [K in keyof Fields]: number } {
  const numbers = Object.entries(fields).map(([name, value]) => [name, Number(value)]);
  return Object.fromEntries(numbers) as { readonly [K in keyof Fields]: number };
}
