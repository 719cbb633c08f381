/**
 * The proxy: a switch between clients on a unix socket and the agents of sandboxes (docs/protocol.md). As a
 * class it lives inside another program; `main.ts` makes a daemon of it.
 */
import { mkdirSync, rmSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { type Lock, peerCredentials, tryLockFile } from '@coracle/sys';
import { RpcError } from '@coracle/wire';
import { ClientConnection } from './client-connection.ts';
import { DialError, dialLink } from './dial.ts';
import { Link } from './link.ts';

/** As in BIND: docs/protocol.md, section 2. */
const SANDBOX_ID = /^[A-Za-z0-9_.-]{1,128}$/;

export interface ProxyOptions {
  /** Folder with one folder per sandbox, each with the `link.sock` or `link.json` of its VM. */
  readonly sandboxes: string;
  /** When given, only this sandbox is served: one proxy per sandbox, for isolation. */
  readonly only?: string;
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
  readonly #clients = new Set<ClientConnection>();
  readonly #server = net.createServer({ allowHalfOpen: false }, (socket) => this.#accept(socket));
  #lock: Lock | undefined;
  /** Called when the last client has gone. */
  onIdle: (() => void) | undefined;

  constructor(options: ProxyOptions) {
    this.#options = options;
  }

  get idle(): boolean {
    return this.#clients.size === 0;
  }

  /** For status output. */
  counters(): { clients: number; links: number } {
    return { clients: this.#clients.size, links: this.#links.size };
  }

  /**
   * Listens on a unix socket that only this user may use. A lock beside it keeps a second proxy away, so a
   * socket file that a killed one left is safely replaced.
   * @throws RpcError already_exists when another proxy listens there; Node's error when the path can't be bound
   */
  async listen(socketPath: string): Promise<void> {
    mkdirSync(path.dirname(socketPath), { recursive: true, mode: 0o700 });
    const lock = tryLockFile(`${socketPath}.lock`);
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
    } catch (error) {
      lock.release();
      throw error;
    } finally {
      process.umask(umask);
    }
  }

  /** Ends all connections; sandboxes go on, and clients go on with the next proxy. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    const reason = new RpcError('aborted', 'the proxy is closing');
    for (const client of [...this.#clients]) client.close(reason);
    for (const link of [...this.#links.values()]) link.close(reason);
    await closed;
    this.#lock?.release();
  }

  #accept(socket: net.Socket): void {
    const refused = refusal(socket);
    if (refused !== undefined) {
      this.#options.log?.warn({ reason: refused }, 'refused a connection');
      socket.destroy();
      return;
    }
    this.#clients.add(
      new ClientConnection(socket, {
        bind: (client, sandboxId) => this.#bind(client, sandboxId),
        closed: (client, reason) => {
          this.#options.log?.debug(
            { sandbox: client.link?.sandboxId, reason: reason.message },
            'client closed',
          );
          this.#clients.delete(client);
          if (this.#clients.size === 0) this.onIdle?.();
        },
      }),
    );
  }

  #bind(client: ClientConnection, sandboxId: string): void {
    const { only, sandboxes } = this.#options;
    if (!SANDBOX_ID.test(sandboxId) || sandboxId === '.' || sandboxId === '..') {
      throw new RpcError('invalid_argument', `${JSON.stringify(sandboxId)} is no sandbox id`);
    }
    if (only !== undefined && only !== sandboxId) {
      throw new RpcError('permission_denied', `this proxy serves sandbox ${only} only`);
    }
    let link = this.#links.get(sandboxId);
    if (link === undefined) {
      link = this.#open(sandboxId, path.join(sandboxes, sandboxId));
    }
    link.addClient(client);
  }

  #open(sandboxId: string, folder: string): Link {
    const dialling = new AbortController();
    const { log } = this.#options;
    const link = new Link(sandboxId, dialLink(sandboxId, folder, dialling.signal), (ended, reason) => {
      dialling.abort(reason);
      this.#links.delete(sandboxId);
      log?.info({ sandbox: sandboxId, reason: reason.message }, 'link closed');
      const told = reasonForClients(sandboxId, reason);
      for (const client of [...ended.clients]) client.close(told);
    });
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

/** The socket's mode keeps others out already; the peer's uid is checked as well, since modes get changed. */
function refusal(socket: net.Socket): string | undefined {
  const handle = (socket as unknown as { _handle?: { fd?: number } })._handle;
  if (handle?.fd === undefined || handle.fd < 0) return 'the connection was gone at once';
  try {
    const { uid, pid } = peerCredentials(handle.fd);
    if (uid !== 0 && uid !== process.getuid?.()) return `process ${pid} of uid ${uid} may not use this proxy`;
  } catch (error) {
    return `the peer's credentials can't be read: ${(error as Error).message}`;
  }
  return undefined;
}
