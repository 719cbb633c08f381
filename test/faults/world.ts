/** What the fault suite works on: one VM, one container, its processes, and the way to each part that can be broken. */
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Coracle, ensureProxy, type Sandbox } from '@coracle/client';
import { close, connectUnix, peerCredentials, shutdownSocket, takeDescriptor } from '@coracle/sys';
import { Qmp, readRecord } from '@coracle/vm';
import { checkout, type DriverName, guestEnv, Place, until } from '../contract/place.ts';
import { containerConfig } from '../support/config.ts';
import { type CarrierKind, makeCarrier } from './carriers.ts';
import { Mover, type MoverPlan } from './mover.ts';

const kinds: readonly CarrierKind[] = [
  'shim, pipes',
  'library, pipes',
  'shim, terminal',
  'library, terminal',
];
const bootMs = 120_000;
const besideAgent = 'beside-agent';
/**
 * Paced processes move 2 KiB each way this often. An emulated guest has one slow vCPU for all 16 and moves about
 * 1.5 MiB/s in all: with more than that every window would be full, and a byte's way seconds long without any fault.
 */
const periodMs: Readonly<Record<DriverName, number>> = { local: 10, qemu: 100 };
const PACED_BLOCKS = 4;
const FLOOD_BLOCKS = 32;

export class World implements AsyncDisposable {
  readonly place: Place;
  readonly containerId: string;
  readonly movers: Mover[] = [];
  /** The key of the template that the VM was started from. */
  readonly template: string | undefined;
  readonly #sandbox: Sandbox;

  private constructor(place: Place, containerId: string, sandbox: Sandbox) {
    this.place = place;
    this.containerId = containerId;
    this.template = readRecord(place.files(containerId).sandboxDirectory)?.template;
    this.#sandbox = sandbox;
  }

  /** @param count of processes, taking turns among the four kinds; two of them move as much as they can */
  static async start(driver: DriverName, random: () => number, count: number): Promise<World> {
    const place = new Place(driver);
    try {
      buildMover(join(place.rootfs, 'bin/mover'));
      const id = place.newId();
      const bundle = place.bundle(['sleep', '100000']);
      const ended = await place.coracle(['run', '-d', '--bundle', bundle, id], { deadlineMs: bootMs });
      if (ended.code !== 0) throw new Error(`no container: ${ended.stderr}`);
      const { sandboxId, sandboxDirectory, proxySocket } = place.files(id);
      const sandboxes = join(sandboxDirectory, '..');
      const command = [
        join(checkout, 'bin/coracle-proxy'),
        '--socket',
        proxySocket,
        '--sandboxes',
        sandboxes,
      ];
      const coracle = new Coracle({
        proxy: proxySocket,
        sandboxes,
        startProxy: () => ensureProxy({ socketPath: proxySocket, command, env: place.env }),
      });
      const world = new World(place, id, await coracle.connect(sandboxId));
      if (driver === 'qemu') await world.#startBesideAgent();
      await world.#startMovers(random, count);
      return world;
    } catch (error) {
      await place[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A container in the VM's own pid namespace, where the agent is pid 1. The command line makes none. */
  async #startBesideAgent(): Promise<void> {
    const config = containerConfig(['sleep', '100000']);
    config.linux.namespaces = config.linux.namespaces.filter(
      (one) => (one as { type: string }).type !== 'pid',
    );
    const rootfs = { share: 'containers', path: 'rootfs' };
    const container = await this.#sandbox.createContainer({ id: besideAgent, config, rootfs, attach: false });
    await container.start();
  }

  async #startMovers(random: () => number, count: number): Promise<void> {
    const at = {
      place: this.place,
      containerId: this.containerId,
      container: this.#sandbox.container(this.containerId),
    };
    for (let index = 0; index < count; index++) {
      const kind = kinds[index % kinds.length]!;
      const flood = index < 2;
      const plan: MoverPlan = {
        index,
        kind,
        seedOut: Math.floor(random() * 2 ** 32),
        seedIn: Math.floor(random() * 2 ** 32),
        periodMs: flood ? 0 : periodMs[this.place.driver],
        blocks: flood ? FLOOD_BLOCKS : PACED_BLOCKS,
        exitCode: 10 + index,
      };
      const args = ['/bin/mover', plan.seedOut, plan.seedIn, plan.periodMs, plan.blocks, plan.exitCode].map(
        String,
      );
      const mover = new Mover(plan, await makeCarrier(kind, index, args, at));
      this.movers.push(mover);
    }
    await Promise.all(this.movers.map((mover) => mover.begun));
    await until(() => this.movers.every(({ carrier }) => shimPid(carrier.pidFile) !== 0), 'shims have pids');
  }

  get driver(): DriverName {
    return this.place.driver;
  }
  get movedBytes(): number {
    return this.movers.reduce((sum, mover) => sum + mover.bytes, 0);
  }
  get #proxySocket(): string {
    return this.place.files(this.containerId).proxySocket;
  }
  get vmPid(): number {
    return this.place.vmPid(this.containerId);
  }
  get shimPids(): number[] {
    return this.movers.map(({ carrier }) => shimPid(carrier.pidFile)).filter((pid) => pid !== undefined);
  }

  /** Who listens on the proxy's socket now. */
  proxyPid(): number | undefined {
    try {
      const fd = connectUnix(this.#proxySocket);
      try {
        return peerCredentials(fd).pid;
      } finally {
        close(fd);
      }
    } catch {
      return undefined;
    }
  }

  /** Cuts a connection of the proxy's clients, from the proxy's side. @returns whether there was one */
  cutClient(random: () => number): boolean {
    const pid = this.proxyPid();
    return pid !== undefined && cut(connected(pid, 'proxy.sock'), random);
  }

  /** Cuts a shim's connection from its own side. */
  cutShim(pid: number, random: () => number): boolean {
    return cut(
      socketsOf(pid).filter(({ fd }) => fd > 2),
      random,
    );
  }

  /** Cuts the proxy's link, from the VM's side. */
  cutLink(random: () => number): boolean {
    return cut(connected(this.vmPid, 'link.sock'), random);
  }

  /** A command in the container; the proxy may be dead. */
  async exec(args: readonly string[], flags: readonly string[] = []): Promise<void> {
    const { code, stderr } = await this.place.coracle(['exec', ...flags, this.containerId, ...args]);
    if (code !== 0) throw new Error(`${args.join(' ')} in the guest: ${stderr}`);
  }

  /** The proxy may be dead. */
  async signalAgent(signal: string): Promise<void> {
    const container = this.#sandbox.container(besideAgent);
    const kill = await container.exec({ args: ['kill', `-${signal}`, '1'], env: guestEnv });
    const { code } = await kill.wait();
    if (code !== 0) throw new Error(`kill -${signal} 1 in the guest ended with ${code}`);
  }

  async qmp<T>(use: (qmp: Qmp) => Promise<T>): Promise<T> {
    const qmp = await Qmp.connect(join(this.place.files(this.containerId).sandboxDirectory, 'qmp.sock'));
    try {
      return await use(qmp);
    } finally {
      qmp.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { carrier } of this.movers) carrier.close();
    this.#sandbox.close();
    await this.place.coracle(['delete', '--force', this.containerId]);
    await this.place[Symbol.asyncDispose]();
  }
}

/** Static and small: it runs in a root file system of busybox. */
function buildMover(to: string): void {
  const source = fileURLToPath(new URL('mover.c', import.meta.url));
  execFileSync('musl-gcc', ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Werror', '-static', source, '-o', to]);
}

/** Undefined for what has no shim, 0 for one that has not said it yet. */
function shimPid(file: string | undefined): number | undefined {
  if (file === undefined) return undefined;
  return existsSync(file) ? Number(readFileSync(file, 'utf8')) : 0;
}

interface FoundSocket {
  readonly pid: number;
  readonly fd: number;
  readonly inode: string;
}

function socketsOf(pid: number): FoundSocket[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      return inode === undefined ? [] : [{ pid, fd: Number(fd), inode }];
    } catch {
      return [];
    }
  });
}

/** proc(5): an accepted connection has the path of its listener, and state 3. */
function connected(pid: number, name: string): FoundSocket[] {
  const inodes = new Set(
    readFileSync('/proc/net/unix', 'utf8')
      .split('\n')
      .map((line) => line.trim().split(/\s+/))
      .filter(([, , , , , state, , path]) => state === '03' && path?.includes(`/${name}`))
      .map((fields) => fields[6]),
  );
  return socketsOf(pid).filter(({ inode }) => inodes.has(inode));
}

function cut(sockets: readonly FoundSocket[], random: () => number): boolean {
  const socket = sockets[Math.floor(random() * sockets.length)];
  if (socket === undefined) return false;
  try {
    const fd = takeDescriptor(socket.pid, socket.fd);
    try {
      shutdownSocket(fd);
    } finally {
      close(fd);
    }
    return true;
  } catch {
    // It has ended by itself meanwhile.
    return false;
  }
}
