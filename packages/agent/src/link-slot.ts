/** A link has one connection at a time, and a new one replaces the old one: that is how a proxy killed is seen. */
import type { Duplex } from 'node:stream';
import { type Connection, RpcError } from '@coracle/wire';
import type { SessionHost } from './session.ts';

export class LinkSlot {
  readonly #sessions: SessionHost;
  readonly #opened: () => void;
  #current: Connection | undefined;

  /** @param opened called whenever a host has greeted */
  constructor(sessions: SessionHost, opened: () => void = () => {}) {
    this.#sessions = sessions;
    this.#opened = opened;
  }

  /** Ends the connection that there is; the host, or whoever dials, makes another one. */
  reopen(): void {
    this.#current?.close(new RpcError('aborted', 'the link is opened again'));
  }

  /** @param closed called once when this connection has ended */
  take(socket: Duplex, closed: () => void = () => {}): void {
    this.#current?.close(new RpcError('aborted', 'another connection has taken the link over'));
    const connection = this.#sessions.begin(socket, {
      manualReceive: false,
      opened: this.#opened,
      closed: () => {
        if (this.#current === connection) this.#current = undefined;
        closed();
      },
    });
    this.#current = connection;
    // What has been read while its first line was awaited left it paused.
    socket.resume();
  }
}
