/** The sandbox: this VM, its shares and its containers. */
import { writeFileSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { reseedRandom, setHostname, setRealTime, sync } from '@coracle/sys';
import type { CreateContainerRequest, CreateSandboxRequest, UpdateNetworkRequest } from '@coracle/wire';
import { RpcError } from '@coracle/wire';
import { checkId, invalid } from './check.ts';
import { Container, type ContainerContext } from './container.ts';
import { type GuestConfig, guestConfig } from './guest-config.ts';
import { log, reasonOf } from './log.ts';
import { NameServer } from './names/name-server.ts';
import { Network } from './network/network.ts';
import { lookForDevices } from './network/wait-for-links.ts';
import { type PmemDevice, readPmemDevice, restorePmemDevice } from './pmem-device.ts';
import type { Process } from './process.ts';
import { Shares } from './shares.ts';

export class Sandbox {
  readonly #context: ContainerContext;
  readonly #shares: Shares;
  readonly #network = new Network();
  readonly #names: NameServer;
  readonly #containers = new Map<string, Container>();
  #id: string | undefined;
  #rehearsal = false;
  #ending = false;
  #rootDevice: PmemDevice | undefined;

  constructor(context: ContainerContext) {
    this.#context = context;
    this.#shares = new Shares(context.stateFolder, context.local);
    this.#names = new NameServer(context.processes);
  }

  get id(): string {
    return this.#id ?? '';
  }

  create(request: CreateSandboxRequest): void {
    if (this.#id !== undefined)
      throw new RpcError('already_exists', `this VM is sandbox "${this.#id}" already`);
    checkId(request.sandboxId, 'sandbox_id');
    try {
      if (!this.#context.local) {
        // First: nothing that is made from here on may be what another VM of the same template makes.
        if (request.entropy.length > 0) reseedRandom(request.entropy);
        if (request.hostTimeNs > 0n) this.setClock(request.hostTimeNs);
        if (request.hostname !== '') setHostname(request.hostname);
        if (request.findDevices) {
          restorePmemDevice(this.#rootDevice);
          lookForDevices();
        }
      }
      for (const share of request.shares) this.#shares.add(share, request.rehearsal);
    } catch (error) {
      this.#shares.removeAll();
      throw error;
    }
    this.#id = request.sandboxId;
    this.#rehearsal = request.rehearsal;
  }

  /** The VM is about to be saved: what is not saved with it is kept here. */
  rememberDevices(): void {
    this.#rootDevice = readPmemDevice();
  }

  /** @throws RpcError */
  async updateNetwork(request: UpdateNetworkRequest): Promise<void> {
    if (this.#context.local)
      throw new RpcError('failed_precondition', "without a VM the network is the host's, and stays as it is");
    await this.#network.update(request);
  }

  /** @throws RpcError */
  async forwardNames(address: string): Promise<Process> {
    if (this.#context.local)
      throw new RpcError('failed_precondition', "without a VM names are found as the host's are");
    return await this.#names.forward(address);
  }

  /** Nothing without a VM: the clock is the host's own then. */
  setClock(hostTimeNs: bigint): void {
    if (hostTimeNs <= 0n) throw invalid('host_time_ns', 'must be after 1970');
    if (!this.#context.local) setRealTime(hostTimeNs);
  }

  async createContainer(request: CreateContainerRequest): Promise<Process> {
    const id = request.containerId;
    checkId(id, 'container_id');
    if (this.#ending) throw new RpcError('failed_precondition', 'the sandbox is being destroyed');
    if (this.#containers.has(id)) throw new RpcError('already_exists', `container "${id}" exists already`);
    const container = new Container(id, this.#context);
    // The id is taken from here on, so that two requests can't make it twice.
    this.#containers.set(id, container);
    try {
      const config = await this.#guestConfig(request);
      return await container.create(config, { stdin: request.stdin, size: sizeOf(request) });
    } catch (error) {
      this.#containers.delete(id);
      throw error;
    }
  }

  /** @throws RpcError not_found */
  container(id: string): Container {
    const container = this.#containers.get(id);
    if (container === undefined)
      throw new RpcError('not_found', `there is no container "${id.slice(0, 128)}"`);
    return container;
  }

  async removeContainer(id: string, force: boolean): Promise<void> {
    await this.container(id).remove(force);
    this.#containers.delete(id);
  }

  /**
   * Ends every process and writes out what they have written. In a VM nothing more: it goes away next, and to let
   * crun take each container apart takes a tenth of a second. What fails is logged.
   * @returns false after a rehearsal: then it does not, and a sandbox can be created
   * @throws Error after a rehearsal when something is left
   */
  async destroy(): Promise<boolean> {
    this.#ending = true;
    const goesOn = this.#context.local || this.#rehearsal;
    const ending = [...this.#containers].map(([id, container]) =>
      goesOn ? this.removeContainer(id, true) : container.end(),
    );
    const results = await Promise.allSettled(ending);
    for (const result of results) {
      if (result.status === 'fulfilled') continue;
      if (this.#rehearsal) throw result.reason;
      log('error', 'cannot end a container', { reason: reasonOf(result.reason) });
    }
    this.#shares.removeAll();
    if (!this.#context.local) sync();
    if (!this.#rehearsal) return true;
    this.#rehearsal = this.#ending = false;
    this.#id = undefined;
    return false;
  }

  async #guestConfig(request: CreateContainerRequest): Promise<GuestConfig> {
    const bindSources = new Map<number, string>();
    for (const { mount, share, path } of request.bindSources) {
      bindSources.set(mount, this.#shares.resolve(share, path, 'bind_sources'));
    }
    const config = guestConfig({
      config: request.config,
      containerId: request.containerId,
      rootfs: this.#shares.resolve(request.rootfsShare, request.rootfsPath, 'rootfs_path'),
      bindSources,
      size: sizeOf(request),
      local: this.#context.local,
    });
    // Not synchronously: a share may hang.
    for (const { field, path } of config.guestSources) {
      await access(path).catch(() => {
        throw invalid(field, `binds ${path}, which is not shared with the VM and does not exist inside it`);
      });
    }
    this.#applyNetSysctls(config.netSysctls);
    return config;
  }

  /** crun refuses them without a network namespace of the container's own. */
  #applyNetSysctls(sysctls: ReadonlyMap<string, string>): void {
    if (this.#context.local) return;
    for (const [name, value] of sysctls) {
      const path = join('/proc/sys', name.includes('/') ? name : name.replaceAll('.', '/'));
      try {
        writeFileSync(path, value);
      } catch (error) {
        throw invalid(`linux.sysctl.${name}`, `can't be set in the guest: ${reasonOf(error)}`);
      }
    }
  }
}

export function sizeOf(request: {
  columns: number;
  rows: number;
}): { columns: number; rows: number } | undefined {
  const { columns, rows } = request;
  if (columns === 0 || rows === 0) return undefined;
  if (columns > 0xffff || rows > 0xffff) throw invalid('columns and rows', 'must be at most 65535');
  return { columns, rows };
}
