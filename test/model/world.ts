/**
 * All parts of one sandbox in one process, and the faults that may meet them. The parts are the product's: client
 * sessions, the proxy, the agent's sessions and processes, with real pipes behind them. What the model has instead
 * of the kernel are the connections (byte-pipe.ts, links.ts), and the clock, which stands still unless told to go on.
 */
import { RequestServer } from '@coracle/wire';
import { vi } from 'vitest';
import { LinkCounters } from '../../packages/agent/src/counters.ts';
import { ProcessTable } from '../../packages/agent/src/processes.ts';
import { SessionHost } from '../../packages/agent/src/session.ts';
import { ProxyServer } from '../../packages/proxy/src/proxy-server.ts';
import { connectionPair, type End, refusedConnection } from './byte-pipe.ts';
import { MAX_WRITERS } from './bytes.ts';
import { Calls } from './calls.ts';
import { type Attachment, Client, type Sizes } from './engine.ts';
import { type AgentLink, PortLink, SocketLink } from './links.ts';
import { Program, type ProgramKind } from './program.ts';
import { ARRIVAL_BYTES, SwitchWatch } from './switch-watch.ts';

export interface Setting extends Sizes {
  /** What the agent keeps of each stream; the clients' is `windowBytes`. */
  readonly agentWindowBytes: number;
  readonly transport: 'socket' | 'port';
  readonly programs: readonly ProgramKind[];
  /** How many clients share the programs at first. */
  readonly clients: number;
}

/** Taken before the clock is stopped. */
const nextTurn = setImmediate;
const EVERYTHING = 1 << 30;

export class World {
  readonly setting: Setting;
  readonly programs: Program[];
  readonly clients: Client[] = [];
  readonly calls = new Calls();
  readonly link: AgentLink;
  /** By program: who has attached, the last one last. */
  readonly owners: Attachment[][];
  #proxy: ProxyServer | undefined;
  /** The proxy's ends of its clients' connections, and which client's. */
  #accepted = new Map<Client, End>();
  /** Rules that were broken although nobody lies, and what the proxy or the agent could not go on with. */
  readonly faults: string[] = [];
  readonly watch: SwitchWatch;

  constructor(setting: Setting) {
    this.setting = setting;
    this.watch = new SwitchWatch(setting.windowBytes, setting.agentWindowBytes);
    this.programs = setting.programs.map((kind, index) => new Program(index, kind, setting.agentWindowBytes));
    const counters = new LinkCounters();
    const table = new ProcessTable(undefined, counters);
    for (const { process } of this.programs) table.publish(process);
    const sessions = new SessionHost(table, new RequestServer(this.calls.handlers(this.programs)), counters);
    this.link = setting.transport === 'port' ? new PortLink(sessions) : new SocketLink(sessions);
    for (let i = 0; i < setting.clients; i++) this.addClient();
    this.owners = this.programs.map((program) => [
      this.#client(program.index).attach(program, 0, true, setting),
    ]);
  }

  #client(index: number): Client {
    return this.clients[index % this.setting.clients] as Client;
  }

  addClient(): Client {
    const client = new Client(
      `client ${this.clients.length}`,
      (who) => this.#connect(who),
      () => this.#startProxy(),
    );
    this.clients.push(client);
    return client;
  }

  owner(index: number): Attachment {
    return this.owners[index]?.at(-1) as Attachment;
  }

  #connect(client: Client): End {
    if (this.#proxy === undefined) return refusedConnection();
    const [mine, theirs] = connectionPair();
    this.#accepted.set(client, theirs);
    this.#proxy.accept(theirs);
    return mine;
  }

  #startProxy(): void {
    if (this.#proxy !== undefined) return;
    const notes = (fields: { reason?: string }): void => {
      if (fields.reason !== undefined && /invalid_argument|internal|resource_exhausted/.test(fields.reason)) {
        this.faults.push(fields.reason);
      }
    };
    const proxy: ProxyServer = new ProxyServer({
      sandboxes: '/nowhere',
      maxClients: 100,
      // A killed one has timers here that the kernel would have taken with it.
      dial: () => (proxy === this.#proxy ? Promise.resolve(this.link.dial()) : new Promise(() => undefined)),
      log: { debug: notes, info: notes, warn: notes },
    });
    this.#proxy = proxy;
  }

  killProxy(keepBytes: number): void {
    if (this.#proxy === undefined) return;
    this.#proxy = undefined;
    for (const end of this.#accepted.values()) end.kill(keepBytes);
    this.#accepted.clear();
    this.watch.proxyGone();
    this.link.proxyGone(keepBytes);
  }

  /** Clients whose connection the proxy does not read at present. */
  get unreadClients(): number {
    return [...this.#accepted.values()].filter((end) => end.isPaused()).length;
  }

  cutClient(client: Client, keepBytes: number): void {
    client.end?.cut(keepBytes, Math.floor(keepBytes / 3));
  }

  /** @returns whether anything moved */
  moveToClient(client: Client, bytes: number): boolean {
    return !client.crashed && (client.end?.arrive(bytes) ?? false);
  }
  moveToProxy(client: Client, bytes: number): boolean {
    return this.#accepted.get(client)?.arrive(Math.min(bytes, ARRIVAL_BYTES)) ?? false;
  }

  passTime(ms: number): void {
    vi.advanceTimersByTime(ms);
  }

  /** `index`'s program gets another client; the former one was killed, or does not know yet. */
  takeOver(index: number, kill: boolean, keepBytes: number): void {
    const owners = this.owners[index] as Attachment[];
    const program = this.programs[index] as Program;
    const former = owners.at(-1) as Attachment;
    // One place is kept for the end of the story, when all of them may have failed.
    if (owners.length >= (owners.some(({ live }) => live) ? MAX_WRITERS - 1 : MAX_WRITERS)) return;
    if (kill) former.client.crash(keepBytes);
    else if (former.live) {
      program.input.gapsAllowed = true;
      for (const owner of owners) for (const output of owner.outputs) output.gapsAllowed = true;
    }
    owners.push(this.addClient().attach(program, owners.length, false, this.setting));
  }

  /** Whatever runs by itself comes to rest: microtasks, ticks, and descriptors that are ready. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => nextTurn(resolve));
  }

  /** Everything that is under way arrives, as often as there is something. @returns whether anything moved */
  async moveAll(): Promise<boolean> {
    let any = false;
    for (let moved = true; moved; ) {
      moved = this.link.toAgent(EVERYTHING);
      moved = this.link.toProxy(EVERYTHING) || moved;
      for (const client of this.clients) {
        moved = this.moveToProxy(client, EVERYTHING) || moved;
        moved = this.moveToClient(client, EVERYTHING) || moved;
      }
      any ||= moved;
      await this.settle();
    }
    return any;
  }

  /** Every reader reads. @returns whether anybody got something */
  readAll(): boolean {
    let any = false;
    for (const program of this.programs) any = program.read(EVERYTHING) || any;
    for (const attachment of this.owners.flat()) {
      if (attachment.client.crashed) continue;
      for (const stream of [0, 1]) any = attachment.read(stream, EVERYTHING) || any;
    }
    return any;
  }

  async dispose(): Promise<void> {
    for (const client of this.clients) {
      client.crashed = true;
      client.session.close();
    }
    for (const program of this.programs) program.dispose();
    await this.settle();
    vi.clearAllTimers();
  }
}
