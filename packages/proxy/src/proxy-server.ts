/**
 * The proxy: a switch between clients on a unix socket and the agents of sandboxes (docs/protocol.md). As a
 * class it lives inside another program; `main.ts` makes a daemon of it.
 */
import { mkdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import type { Duplex } from 'node:stream';
import { adoptLock, type Lock, peerCredentials, tryLockFile } from '@coracle/sys';
import { Connection, Direction, encodeFrame, FrameType, Role, RpcError } from '@coracle/wire';
import { ClientConnection, type SharedBudgets, sharedBudgets } from './client-connection.ts';
import { ClockWatch } from './clock-watch.ts';
import { Counters, countBy, type Traffic } from './counters.ts';
import { DebugSocket, debugSocketPath } from './debug-socket.ts';
import { DialError, dialLink } from './dial.ts';
import { CAPTURE_LOOK_MS, MAX_TURNED_AWAY, maxClients } from './limits.ts';
import { Link } from './link.ts';
import { linkState } from './link-state.ts';
import type { Gauges, MetricsSource, Waiting } from './metrics.ts';
import { type MetricsAddress, MetricsPort } from './metrics-port.ts';
import { programOf } from './program-of.ts';
import { type LinkTap, type Tapping, Taps } from './taps.ts';

/** As in BIND: docs/protocol.md, section 2. */
const SANDBOX_ID = /^[A-Za-z0-9_.-]{1,128}$/;

export interface ProxyOptions {
  /** Folder with one folder per sandbox, each with the `link.sock` or `link.json` of its VM. */
  readonly sandboxes: string;
  /** When given, only this sandbox is served: one proxy per sandbox, for isolation. */
  readonly only?: string;
  /** At most this many clients at a time; as many as there are descriptors for, unless given. */
  readonly maxClients?: number;
  /** What may wait for all guests before each client is held to its share; that of docs/limits.md unless given. */
  readonly maxInboundBytes?: number;
  /** How the agent of a sandbox is reached; by the address in its folder unless given. */
  readonly dial?: typeof dialLink;
  /** Where /metrics is served besides the debug socket. */
  readonly metrics?: MetricsAddress;
  /** Told what happens; user data never passes through here. */
  readonly log?: ProxyLog;
}

export interface ProxyLog {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
}

export class ProxyServer {
  readonly #options: ProxyOptions;
  readonly #links = new Map<string, Link>();
  /** Those that are not bound yet, oldest first, and those that are. */
  readonly #unbound = new Set<ClientConnection>();
  readonly #bound = new Set<ClientConnection>();
  readonly #transports = new Set<Duplex>();
  /** Connections that are being told that there is no room. */
  #turnedAway = 0;
  readonly #maxClients: number;
  readonly #budgets: SharedBudgets;
  readonly #server = net.createServer({ allowHalfOpen: false }, (socket) => this.#accept(socket));
  #lock: Lock | undefined;
  #clock: ClockWatch | undefined;
  #lastClient = 0;
  readonly #taps = new Taps();
  /** Clients for which something waited when that was last recorded. */
  readonly #waited = new Set<ClientConnection>();
  #looking: NodeJS.Timeout | undefined;
  readonly #counters = new Counters();
  readonly #metrics: MetricsSource = { counters: this.#counters, gauges: () => this.#gauges() };
  #metricsPort: MetricsPort | undefined;
  readonly #debug = new DebugSocket({
    metrics: this.#metrics,
    links: (sandbox) =>
      [...this.#links.values()]
        .filter(({ sandboxId }) => sandbox === undefined || sandbox === sandboxId)
        .map((link) => linkState(link, [...this.#bound])),
    captures: () => this.#taps.size,
    startCapture: (tapping) => this.startCapture(tapping),
    stopCapture: (tapping) => this.stopCapture(tapping),
    refusal,
  });
  /** Called when the last client has gone. */
  onIdle: (() => void) | undefined;

  constructor(options: ProxyOptions) {
    this.#options = options;
    this.#budgets = sharedBudgets(() => this.#bound, options.maxInboundBytes);
    this.#maxClients = options.maxClients ?? maxClients();
  }

  get idle(): boolean {
    return this.#unbound.size + this.#bound.size + this.#taps.size === 0;
  }

  /** For status output. */
  counters(): { clients: number; links: number; waitsForGuestsBytes: number } {
    return {
      clients: this.#unbound.size + this.#bound.size,
      links: this.#links.size,
      waitsForGuestsBytes: this.#budgets.inbound.bytes,
    };
  }

  /**
   * Listens on a unix socket that only this user may use. A lock beside it keeps a second proxy away, so a
   * socket file that a killed one left is safely replaced.
   * @param lockFd a descriptor on which whoever started us holds that lock already
   * @throws RpcError already_exists when another proxy listens there; Node's error when the path can't be bound
   */
  async listen(socketPath: string, lockFd?: number): Promise<void> {
    mkdirSync(path.dirname(socketPath), { recursive: true, mode: 0o700 });
    const lockPath = `${socketPath}.lock`;
    const given = lockFd === undefined ? undefined : adoptLock(lockPath, lockFd);
    const lock = given ?? tryLockFile(lockPath);
    if (lock === undefined) throw new RpcError('already_exists', `another proxy serves ${socketPath}`);
    this.#lock = lock;
    rmSync(socketPath, { force: true });
    const umask = process.umask(0o177);
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen(socketPath, () => {
          this.#server.off('error', reject);
          resolve();
        });
      });
      await this.#debug.listen(debugSocketPath(socketPath)).catch((error: Error) => {
        // Its path is longer, and may be too long for a socket. Streams go without it.
        this.#options.log?.warn({ reason: error.message }, 'captures cannot be asked for');
      });
      await this.#listenForMetrics();
    } catch (error) {
      lock.release();
      throw error;
    } finally {
      process.umask(umask);
    }
    this.#clock = new ClockWatch(() => {
      const hostTimeNs = BigInt(Date.now()) * 1_000_000n;
      this.#options.log?.info({}, "the host's clock has moved: guests are told");
      for (const link of this.#links.values()) link.tell('setClock', { hostTimeNs });
    });
  }

  /** Who asks for numbers must not keep streams from flowing: a port that is taken is said, and no more. */
  async #listenForMetrics(): Promise<void> {
    const { metrics, log } = this.#options;
    if (metrics === undefined) return;
    try {
      this.#metricsPort = await MetricsPort.listen(this.#metrics, metrics);
      log?.info({ host: metrics.host, port: this.#metricsPort.port }, 'metrics can be asked for');
    } catch (error) {
      log?.warn({ ...metrics, reason: (error as Error).message }, 'metrics cannot be asked for there');
    }
  }

  #gauges(): Gauges {
    const links = [...this.#links.values()];
    const openLinks = links.filter(({ isOpen }) => isOpen).length;
    const { toAgent, toClient } = this.#counters;
    const waiting = (traffic: Traffic, queuedBytes: number): Waiting => {
      const stalled = links.map(({ watch }) => watch.stalled(traffic));
      const sum = (of: 'streams' | 'seconds'): number => stalled.reduce((total, one) => total + one[of], 0);
      return { queuedBytes, stalledStreams: sum('streams'), stalledSeconds: sum('seconds') };
    };
    return {
      clients: this.#unbound.size + this.#bound.size,
      openLinks,
      openingLinks: links.length - openLinks,
      captures: this.#taps.size,
      toAgent: waiting(toAgent, this.#budgets.inbound.bytes),
      toClient: waiting(toClient, this.#budgets.outbound.bytes),
    };
  }

  /** Ends all connections; sandboxes go on, and clients go on with the next proxy. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const reason = new RpcError('aborted', 'the proxy is closing');
    // Those that were told before, and have not closed yet, have had their chance.
    for (const transport of this.#transports) if (transport.writableFinished) transport.destroy();
    for (const client of [...this.#unbound, ...this.#bound]) client.close(reason, { linger: false });
    for (const link of [...this.#links.values()]) link.close(reason);
    await Promise.all([closed, this.#debug.close()]);
    this.#clock?.close();
    this.#metricsPort?.close();
    this.#lock?.release();
  }

  #accept(socket: net.Socket): void {
    const { pid, refused } = peerOf(socket);
    if (refused !== undefined) {
      this.#options.log?.warn({ reason: refused }, 'refused a connection');
      socket.destroy();
      return;
    }
    this.accept(socket, pid);
  }

  /**
   * A client has come on a transport whose other end may use this proxy.
   * @param pid of its process on this host, for captures
   */
  accept(transport: Duplex, pid = 0): void {
    this.#transports.add(transport);
    transport.once('close', () => this.#transports.delete(transport));
    if (this.#unbound.size + this.#bound.size >= this.#maxClients && !this.#evictUnbound()) {
      this.#turnAway(transport);
      return;
    }
    this.#counters.clientsConnected++;
    this.#unbound.add(
      new ClientConnection(
        transport,
        {
          bind: (client, sandboxId) => this.#bind(client, sandboxId),
          closed: (client, reason) => {
            const sandbox = client.link?.sandboxId;
            client.link?.tap?.event('client_closed', client.number, {
              code: reason.number,
              text: reason.reason,
            });
            this.#options.log?.debug({ sandbox, reason: reason.message }, 'client closed');
            countBy(this.#counters.clientsClosed, reason.code);
            this.#unbound.delete(client);
            this.#bound.delete(client);
            this.#waited.delete(client);
            if (this.idle) this.onIdle?.();
          },
        },
        this.#budgets,
        { number: ++this.#lastClient, pid },
      ),
    );
  }

  /** Somebody who has connected and says nothing must not keep others out. */
  #evictUnbound(): boolean {
    const [oldest] = this.#unbound;
    oldest?.close(this.#full());
    return oldest !== undefined;
  }

  /** A client understands an answer only after the preambles. */
  #turnAway(transport: Duplex): void {
    if (this.#turnedAway >= MAX_TURNED_AWAY) {
      transport.destroy();
      return;
    }
    this.#turnedAway++;
    transport.once('close', () => this.#turnedAway--);
    const connection: Connection = new Connection(
      transport,
      { role: Role.proxy, opener: false },
      { open: () => connection.close(this.#full()), frame: () => undefined, closed: () => undefined },
    );
  }

  #full(): RpcError {
    return new RpcError('resource_exhausted', `this proxy has ${this.#maxClients} clients already`);
  }

  #bind(client: ClientConnection, sandboxId: string): void {
    const { only, sandboxes } = this.#options;
    if (!SANDBOX_ID.test(sandboxId) || sandboxId === '.' || sandboxId === '..') {
      throw new RpcError('invalid_argument', `${JSON.stringify(sandboxId)} is no sandbox id`);
    }
    if (only !== undefined && only !== sandboxId) {
      throw new RpcError('permission_denied', `this proxy serves sandbox ${only} only`);
    }
    const link = this.#links.get(sandboxId) ?? this.#open(sandboxId, path.join(sandboxes, sandboxId));
    this.#unbound.delete(client);
    this.#bound.add(client);
    if (link.tap !== undefined) {
      const bind = encodeFrame({ type: FrameType.BIND, payload: Buffer.from(sandboxId, 'latin1') });
      tellOf(client, link.tap);
      link.tap.frame(Direction.toAgent, client.number, bind);
    }
    link.addClient(client);
  }

  /** Frames go to this capture from now on; it is told first what is there already. */
  startCapture(tapping: Tapping): void {
    this.#taps.add(tapping);
    this.#tap();
    const tapped: { readonly link: Link; readonly tap: LinkTap }[] = [];
    for (const link of this.#links.values()) {
      const tap = this.#taps.only(tapping, link.sandboxId);
      if (tap === undefined) continue;
      tap.event('already');
      tap.event(link.isOpen ? 'link_open' : 'link_opening');
      tapped.push({ link, tap });
    }
    for (const client of this.#bound) {
      const tap = client.link && this.#taps.only(tapping, client.link.sandboxId);
      if (tap === undefined) continue;
      tap.event('already', client.number);
      tellOf(client, tap);
    }
    // Who stands still sends nothing: what is not told now would never be seen.
    for (const { link, tap } of tapped) link.tellStreams(tap);
    this.#looking ??= setInterval(() => this.#look(), CAPTURE_LOOK_MS);
    this.#looking.unref();
    this.#options.log?.info({ content: tapping.capture.content }, 'a capture begins');
  }

  stopCapture(tapping: Tapping): void {
    if (!this.#taps.delete(tapping)) return;
    this.#tap();
    if (this.#taps.size === 0) {
      clearInterval(this.#looking);
      this.#looking = undefined;
      this.#waited.clear();
    }
    this.#options.log?.info({}, 'a capture has ended');
    if (this.idle) this.onIdle?.();
  }

  #tap(): void {
    for (const link of this.#links.values()) link.tap = this.#taps.of(link.sandboxId);
  }

  /** Records what waits in the proxy, and for whom; and that nothing else has happened. */
  #look(): void {
    for (const { capture } of this.#taps) capture.tick();
    for (const client of this.#bound) {
      const tap = client.link?.tap;
      const waits = client.queuedBytes + client.inboundBytes > 0;
      if (tap === undefined || (!waits && !this.#waited.has(client))) continue;
      if (waits) this.#waited.add(client);
      else this.#waited.delete(client);
      tap.event('client_queue', client.number, { value: client.queuedBytes });
      tap.event('guest_queue', client.number, { value: client.inboundBytes });
    }
  }

  #open(sandboxId: string, folder: string): Link {
    const dialling = new AbortController();
    const { log } = this.#options;
    const link = new Link(
      sandboxId,
      () => (this.#options.dial ?? dialLink)(sandboxId, folder, dialling.signal),
      (ended, reason) => {
        dialling.abort(reason);
        this.#links.delete(sandboxId);
        countBy(this.#counters.linksClosed, reason.code);
        log?.info({ sandbox: sandboxId, reason: reason.message }, 'link closed');
        const told = reasonForClients(sandboxId, reason);
        for (const client of [...ended.clients]) client.close(told);
      },
      this.#taps.of(sandboxId),
      this.#counters,
    );
    this.#links.set(sandboxId, link);
    log?.info({ sandbox: sandboxId }, 'link opened');
    return link;
  }
}

/** What dialling has found out is passed on; a link that was up and has ended means: come again. */
function reasonForClients(sandboxId: string, reason: RpcError): RpcError {
  if (reason instanceof DialError) return reason;
  return new RpcError('aborted', `the link to sandbox ${sandboxId} has ended: ${reason.reason}`);
}

/** Says in a capture who a client is. */
function tellOf(client: ClientConnection, tap: LinkTap): void {
  tap.event('client_bound', client.number, { value: client.pid, text: programOf(client.pid) });
}

/** The socket's mode keeps others out already; the peer's uid is checked as well, since modes get changed. */
function refusal(socket: net.Socket): string | undefined {
  return peerOf(socket).refused;
}

function peerOf(socket: net.Socket): { readonly pid: number; readonly refused?: string } {
  const handle = (socket as unknown as { _handle?: { fd?: number } })._handle;
  if (handle?.fd === undefined || handle.fd < 0)
    return { pid: 0, refused: 'the connection was gone at once' };
  try {
    const { uid, pid } = peerCredentials(handle.fd);
    if (uid === 0 || uid === process.getuid?.()) return { pid };
    return { pid, refused: `process ${pid} of uid ${uid} may not use this proxy` };
  } catch (error) {
    return { pid: 0, refused: `the peer's credentials can't be read: ${(error as Error).message}` };
  }
}
