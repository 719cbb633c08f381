/**
 * How a proxy reaches the agent, as the story moves it: a socket per dial, as with vsock, or the one port of
 * virtio-serial, which remembers. The agent's part is the product's LinkSlot, or what its PortLink does
 * (packages/agent/src/link-port.ts), on a port that is a queue.
 */
import { Duplex } from 'node:stream';
import { type Connection, RpcError } from '@coracle/wire';
import { LinkSlot } from '../../packages/agent/src/link-slot.ts';
import type { SessionHost } from '../../packages/agent/src/session.ts';
import type { DialledTransport } from '../../packages/proxy/src/dial.ts';
import { connectionPair, type End, Lane } from './byte-pipe.ts';

/** What the faults of a story do to it. `keepBytes`: of what is under way, these still arrive. */
export interface AgentLink {
  dial(): DialledTransport;
  toAgent(bytes: number): boolean;
  toProxy(bytes: number): boolean;
  /** The proxy was killed. */
  proxyGone(keepBytes: number): void;
  /** The connection breaks for the proxy; the agent may learn of it later. */
  cut(keepBytes: number): void;
  /** The agent looks whether its host is still there. */
  agentLooks(): void;
  /** The agent closes its end, with all that is queued for it, and opens it again. */
  agentReopens(lostBytes: number): void;
}

export class SocketLink implements AgentLink {
  readonly #slot: LinkSlot;
  #ends: { proxy: End; agent: End } | undefined;

  constructor(sessions: SessionHost) {
    this.#slot = new LinkSlot(sessions);
  }

  dial(): DialledTransport {
    const [proxy, agent] = connectionPair();
    this.#ends = { proxy, agent };
    this.#slot.take(agent);
    return { socket: proxy, flush: false };
  }
  toAgent(bytes: number): boolean {
    return this.#ends?.agent.arrive(bytes) ?? false;
  }
  toProxy(bytes: number): boolean {
    return this.#ends?.proxy.arrive(bytes) ?? false;
  }
  proxyGone(keepBytes: number): void {
    this.#ends?.proxy.kill(keepBytes);
  }
  cut(keepBytes: number): void {
    this.#ends?.proxy.cut(keepBytes, Math.floor(keepBytes / 2));
  }
  agentLooks(): void {
    // A socket says by itself that it has ended.
  }
  agentReopens(): void {
    this.#ends?.agent.destroy();
  }
}

/** The agent's descriptor of the port. Reading is the caller's, as in the agent; only the end of file comes here. */
class PortCopy extends Duplex {
  readonly out = new Lane(4096);

  constructor() {
    super({ allowHalfOpen: false });
    this.resume();
  }
  override _read(): void {}
  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.out.put(chunk, done);
  }
}

/** The agent reads into memory that it uses again. */
const memory = Buffer.alloc(64 * 1024);
const READ_BYTES = 4096;

export class PortLink implements AgentLink {
  readonly #sessions: SessionHost;
  /** In the guest's queue: it outlives the host's connection that brought it. */
  readonly #queue = new Lane(Number.POSITIVE_INFINITY);
  #host: { proxy: End; toGuest: Lane; toHost: Lane } | undefined;
  #guest: { copy: PortCopy; connection: Connection; settling: boolean } | undefined;

  constructor(sessions: SessionHost) {
    this.#sessions = sessions;
  }

  dial(): DialledTransport {
    // QEMU serves one host at a time: an earlier connection has ended, whether its end was read or not.
    if (this.#host) this.#hostLeaves(Number.POSITIVE_INFINITY);
    const [proxy, qemu] = connectionPair();
    const { toGuest, toHost } = lanesOf(qemu);
    this.#host = { proxy, toGuest, toHost };
    this.#look();
    return { socket: proxy, flush: true };
  }

  toAgent(bytes: number): boolean {
    this.#look();
    const host = this.#host;
    if (this.#queue.bytes < bytes && host) {
      this.#queue.put(host.toGuest.take(bytes - this.#queue.bytes), () => undefined);
      if (host.toGuest.ended && host.toGuest.bytes === 0) this.#hostLeaves(0);
    }
    if (this.#guest === undefined || this.#guest.settling) return false;
    const chunk = this.#queue.take(bytes);
    for (let at = 0; at < chunk.length; at += READ_BYTES) {
      const length = chunk.copy(memory, 0, at, at + READ_BYTES);
      this.#guest?.connection.receive(memory.subarray(0, length));
      memory.fill(0xee, 0, length);
    }
    return chunk.length > 0;
  }

  toProxy(bytes: number): boolean {
    this.#look();
    const host = this.#host;
    if (host === undefined) return false;
    const chunk = this.#guest?.copy.out.take(bytes);
    if (chunk !== undefined && chunk.length > 0) host.toHost.put(chunk, () => undefined);
    this.#look();
    return host.proxy.arrive(bytes);
  }

  proxyGone(keepBytes: number): void {
    if (this.#host === undefined) return;
    this.#host.proxy.kill(Number.POSITIVE_INFINITY);
    this.#hostLeaves(keepBytes);
  }

  cut(keepBytes: number): void {
    const host = this.#host;
    if (host === undefined) return;
    this.#hostLeaves(keepBytes);
    host.toHost.keep(keepBytes);
    host.toHost.end();
    // What the proxy still writes goes nowhere; it reads the end of file first.
    while (host.proxy.arrive(READ_BYTES)) {}
  }

  /** What QEMU has put into the guest's queue stays there; the rest was in the socket. */
  #hostLeaves(keepBytes: number): void {
    const { toGuest } = this.#host as { toGuest: Lane };
    this.#queue.put(toGuest.take(keepBytes), () => undefined);
    toGuest.keep(0);
    toGuest.end();
    this.#host = undefined;
    this.#look();
  }

  agentLooks(): void {
    if (this.#host === undefined && this.#guest && !this.#guest.settling) {
      this.#guest.copy.push(null);
    }
    this.#look();
  }

  agentReopens(lostBytes: number): void {
    this.#guest?.connection.close(new RpcError('aborted', 'the port is opened again'));
    this.#queue.take(lostBytes);
  }

  /** As the agent does: waits for a host, and lets last words leave as long as a host is there. */
  #look(): void {
    const guest = this.#guest;
    if (guest?.settling && (this.#host === undefined || guest.copy.out.bytes === 0)) {
      guest.copy.destroy();
      this.#guest = undefined;
    }
    if (this.#guest !== undefined || this.#host === undefined) return;
    const copy = new PortCopy();
    const connection = this.#sessions.begin(copy, {
      manualReceive: true,
      opened: () => undefined,
      closed: () => {
        begun.settling = true;
      },
    });
    const begun = { copy, connection, settling: false };
    this.#guest = begun;
  }
}

/** QEMU's side of the connection needs no stream: its bytes are moved by the port. */
function lanesOf(end: End): { toGuest: Lane; toHost: Lane } {
  return { toGuest: end.input, toHost: end.output };
}
