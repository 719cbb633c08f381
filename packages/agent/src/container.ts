/** One container: its init process, what was exec'ed into it, and crun underneath (docs/processes.md). */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { kill, type WindowSize } from '@coracle/sys';
import { RpcError, type StatsContainerResponse } from '@coracle/wire';
import { cgroupStats } from './cgroup-stats.ts';
import { checkId, optionalInteger, parseObject } from './check.ts';
import type { Crun } from './crun.ts';
import { type GuestConfig, guestProcess } from './guest-config.ts';
import { CgroupMembers, type Members, NamespaceMembers } from './members.ts';
import { moreOomKills, oomKills } from './oom-watch.ts';
import type { Process } from './process.ts';
import type { ProcessTable } from './processes.ts';
import type { Reaper } from './reaper.ts';
import { guestResources } from './resources.ts';

export interface ContainerContext {
  readonly crun: Crun;
  readonly reaper: Reaper;
  readonly processes: ProcessTable;
  readonly stateFolder: string;
  readonly local: boolean;
  /** Of one container: AgentLimits. */
  readonly maxExecRecords: number;
}

export interface StdioRequest {
  readonly stdin: boolean;
  readonly size: WindowSize | undefined;
  readonly oomScoreAdj?: number | undefined;
}

const SIGKILL = 9;
/** Where the containers' cgroups are. */
export const CGROUPS = '/sys/fs/cgroup/coracle';

export class Container {
  readonly id: string;
  readonly #context: ContainerContext;
  readonly #folder: string;
  readonly #execs = new Map<string, Process>();
  /** Exec ids whose process is being started, and the starts that RemoveContainer waits for. */
  readonly #starting = new Map<string, Promise<unknown>>();
  #init: Process | undefined;
  #members: Members | undefined;
  #begun: Promise<void> | undefined;
  #removing: Promise<void> | undefined;
  #updates = 0;
  /** Kills for want of memory that were already given as somebody's cause. */
  #knownOomKills = 0;

  constructor(id: string, context: ContainerContext) {
    this.id = id;
    this.#context = context;
    this.#folder = join(context.stateFolder, 'containers', id);
  }

  /** Makes the container and its waiting init. When it throws, nothing is left. */
  async create(config: GuestConfig, stdio: StdioRequest): Promise<Process> {
    const { crun } = this.#context;
    mkdirSync(this.#folder, { recursive: true });
    try {
      writeFileSync(join(this.#folder, 'config.json'), config.json);
      this.#init = await this.#makeProcess(
        '',
        ['create', '--bundle', this.#folder],
        config.command,
        config.terminal,
        stdio,
      );
      const known = (): number[] =>
        this.#all()
          .filter((process) => process.exit === undefined)
          .map(({ pid }) => pid);
      this.#members = this.#context.local
        ? new NamespaceMembers(this.#init.pid, known)
        : new CgroupMembers(this.#cgroup);
      return this.#init;
    } catch (error) {
      await crun.run(['delete', '--force', this.id], `clean up container "${this.id}"`).catch(() => {});
      rmSync(this.#folder, { recursive: true, force: true });
      throw error;
    }
  }

  async start(): Promise<void> {
    const init = this.#process('');
    if (init.exit !== undefined) throw this.#precondition('start', 'it has stopped');
    if (this.#begun !== undefined) throw this.#precondition('start', 'it was started before');
    this.#begun = this.#context.crun.run(['start', this.id], `start container "${this.id}"`);
    try {
      await this.#begun;
    } catch (error) {
      this.#begun = undefined;
      throw error;
    }
  }

  async exec(execId: string, processJson: Uint8Array, stdio: StdioRequest): Promise<Process> {
    checkId(execId, 'exec_id');
    if (this.#process('').exit !== undefined) throw this.#precondition('exec in', 'it has stopped');
    if (this.#removing !== undefined) throw this.#precondition('exec in', 'it is being removed');
    if (this.#execs.has(execId) || this.#starting.has(execId)) {
      throw new RpcError('already_exists', `container "${this.id}" has a process "${execId}" already`);
    }
    this.#makeRoomForRecord();
    const description = guestProcess(parseObject(processJson, 'process'), 'process', stdio.size);
    const file = join(this.#folder, `process-${execId}.json`);
    const started = this.#startExec(execId, file, description, stdio);
    this.#starting.set(execId, started);
    try {
      return await started;
    } finally {
      this.#starting.delete(execId);
    }
  }

  /**
   * An exec every second must go on. So the oldest is forgotten of those that have ended and left nothing unread:
   * first of those whose exit was told to somebody, then of those that nobody has asked about.
   */
  #makeRoomForRecord(): void {
    const { maxExecRecords, processes } = this.#context;
    if (this.#execs.size + this.#starting.size < maxExecRecords) return;
    const settled = [...this.#execs].filter(([, process]) => process.settled);
    const oldest = settled.find(([, process]) => process.exitTold) ?? settled[0];
    if (oldest === undefined) {
      throw new RpcError(
        'resource_exhausted',
        `container "${this.id}" has ${maxExecRecords} processes that run, or whose output was not read`,
      );
    }
    this.#execs.delete(oldest[0]);
    processes.remove(oldest[1]);
  }

  async #startExec(
    execId: string,
    file: string,
    description: Record<string, unknown>,
    stdio: StdioRequest,
  ): Promise<Process> {
    const command = (description.args as string[])[0] as string;
    writeFileSync(file, JSON.stringify(description));
    try {
      const arguments_ = ['exec', '--detach', '--process', file];
      const process = await this.#makeProcess(execId, arguments_, command, description.terminal === true, {
        ...stdio,
        oomScoreAdj: optionalInteger(description.oomScoreAdj, 'process.oomScoreAdj'),
      });
      this.#execs.set(execId, process);
      return process;
    } finally {
      rmSync(file, { force: true });
    }
  }

  /** A process of this container, "" is its init. @throws RpcError not_found */
  process(execId: string): Process {
    return this.#process(execId);
  }

  signal(execId: string, signal: number): void {
    if (!this.#process(execId).signal(signal)) {
      throw new RpcError('failed_precondition', `cannot signal ${this.#nameOf(execId)}: it has exited`);
    }
  }

  signalAll(signal: number): void {
    const pids = this.#members?.pids() ?? [];
    if (pids.length === 0) throw this.#precondition('signal', 'it has no processes');
    if (signal === SIGKILL) this.#killAll();
    else for (const pid of pids) kill(pid, signal);
  }

  pids(): number[] {
    return this.#members?.pids() ?? [];
  }

  async pause(): Promise<void> {
    this.#needCgroup('pause');
    await this.#context.crun.run(['pause', this.id], `pause container "${this.id}"`);
  }

  async resume(): Promise<void> {
    this.#needCgroup('resume');
    await this.#context.crun.run(['resume', this.id], `resume container "${this.id}"`);
  }

  /** @throws RpcError unimplemented without cgroups */
  stats(): StatsContainerResponse {
    this.#needCgroup('measure');
    return cgroupStats(this.#cgroup);
  }

  /**
   * @param resources linux.resources of the OCI runtime specification, as JSON
   * @throws RpcError invalid_argument naming the field, or what crun says of it
   */
  async update(resources: Uint8Array): Promise<void> {
    this.#needCgroup('update');
    if (this.#process('').exit !== undefined) throw this.#precondition('update', 'it has stopped');
    // Which devices it may use was said when it was made.
    const { devices: _, ...limits } = guestResources(parseObject(resources, 'resources'), 'resources') ?? {};
    const file = join(this.#folder, `resources-${++this.#updates}.json`);
    writeFileSync(file, JSON.stringify(limits));
    try {
      await this.#context.crun.run(['update', '--resources', file, this.id], `update container "${this.id}"`);
    } finally {
      rmSync(file, { force: true });
    }
  }

  /**
   * Resolves when more processes than `known` were killed for want of memory, or the container has stopped.
   * @throws the signal's reason
   */
  async outOfMemory(known: number, signal: AbortSignal): Promise<{ kills: number; stopped: boolean }> {
    const init = this.#process('');
    const over = new AbortController();
    const ended = init.exited.then(() => known);
    const more = this.#context.local
      ? ended
      : moreOomKills(this.#cgroup, known, AbortSignal.any([signal, over.signal]));
    try {
      // A container that has just stopped may have no cgroup to watch any more.
      const kills = await Promise.race([ended, init.exit === undefined ? more : ended]);
      return { kills: Math.max(kills, oomKills(this.#cgroup)), stopped: init.exit !== undefined };
    } finally {
      more.catch(() => {});
      over.abort();
    }
  }

  /** @throws RpcError failed_precondition when it runs and `force` is false */
  async remove(force: boolean): Promise<void> {
    const running = this.#begun !== undefined && this.#init?.exit === undefined;
    if (running && !force) throw this.#precondition('remove', 'it is running; kill it first, or use force');
    this.#removing ??= this.#remove();
    try {
      await this.#removing;
    } catch (error) {
      this.#removing = undefined;
      throw error;
    }
  }

  /** Kills its processes and waits for their ends. What crun has made of it stays, for a VM that ends with it. */
  async end(): Promise<void> {
    // An exec under way becomes a process that the kill reaches, or fails.
    this.#killAll();
    await Promise.allSettled(this.#starting.values());
    this.#killAll();
    await Promise.all(this.#all().map((process) => process.exited));
  }

  async #remove(): Promise<void> {
    await this.end();
    await this.#context.crun.run(['delete', '--force', this.id], `remove container "${this.id}"`);
    for (const process of this.#all()) this.#context.processes.remove(process);
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #killAll(): void {
    for (const process of this.#all()) process.expectKill();
    this.#members?.killAll();
    // Without cgroups an exec'ed process may not be in the namespace of its container.
    for (const process of this.#all()) process.signal(SIGKILL);
  }

  async #makeProcess(
    execId: string,
    command: string[],
    argv0: string,
    terminal: boolean,
    stdio: StdioRequest,
  ): Promise<Process> {
    const { crun, reaper, processes } = this.#context;
    const { stdin, size, oomScoreAdj } = stdio;
    const process = processes.make({
      name: this.#nameOf(execId),
      terminal,
      stdin,
      outOfMemory: () => this.#takeOomKill(),
    });
    using _slot = processes.reserve();
    using _hold = reaper.holdUnknown();
    const made = await crun.make({
      command,
      containerId: this.id,
      what: `start ${JSON.stringify(argv0)} in container "${this.id}"`,
      terminal,
      stdin,
      size,
      oomScoreAdj,
    });
    process.connect(made.ends);
    process.started(made.pid);
    processes.publish(process);
    reaper.watch(made.pid, (status) => process.onExit(status));
    return process;
  }

  #takeOomKill(): boolean {
    if ((this.#members?.oomKills() ?? 0) <= this.#knownOomKills) return false;
    this.#knownOomKills++;
    return true;
  }

  #all(): Process[] {
    return [...(this.#init ? [this.#init] : []), ...this.#execs.values()];
  }

  #process(execId: string): Process {
    const process = execId === '' ? this.#init : this.#execs.get(execId);
    if (process === undefined) {
      const what = execId === '' ? 'is still being created' : `has no process "${execId}"`;
      throw new RpcError('not_found', `container "${this.id}" ${what}`);
    }
    return process;
  }

  #nameOf(execId: string): string {
    return execId === '' ? `container "${this.id}"` : `process "${execId}" of container "${this.id}"`;
  }

  get #cgroup(): string {
    return join(CGROUPS, this.id);
  }

  #needCgroup(verb: string): void {
    if (this.#context.local)
      throw new RpcError(
        'unimplemented',
        `cannot ${verb} a container of the local driver: it has no cgroups`,
      );
  }

  #precondition(verb: string, problem: string): RpcError {
    return new RpcError('failed_precondition', `cannot ${verb} container "${this.id}": ${problem}`);
  }
}
