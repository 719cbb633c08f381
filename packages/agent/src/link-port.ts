/**
 * The link in a guest: one virtio-serial port, opened once. Closing it would throw away what the host has
 * queued (512 KiB were seen to vanish), so each connection works on a copy of the descriptor.
 *
 *   waiting ── the host is there ──► connected ── end of file, rules broken ──► settling ──► waiting
 *
 * While no host is connected the port reads end of file at once. Its return is announced by SIGIO only, and
 * SIGIO also comes for every buffer: so it is on only while waiting, with a look now and then besides.
 */
import type { Socket } from 'node:net';
import { dup, findPort, hostConnected, openPort, openStream, setAsync } from '@coracle/sys';
import type { Connection } from '@coracle/wire';
import type { SessionHost } from './session.ts';

export const PORT_NAME = 'coracle.link.0';
/** In case a SIGIO comes between the look and the request for it. */
const LOOK_AGAIN_MS = 250;
/** A read of the port returns at most 4 KiB; libuv reads on while there is more. */
const READ_BYTES = 64 * 1024;

export class PortLink {
  readonly #fd: number;
  readonly #sessions: SessionHost;
  readonly #opened: () => void;
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #timer: NodeJS.Timeout | undefined;
  readonly #look = (): void => this.#connectIfThere();

  /** @param opened called whenever a host has greeted */
  constructor(path: string, sessions: SessionHost, opened: () => void) {
    this.#fd = openPort(path);
    this.#sessions = sessions;
    this.#opened = opened;
    process.on('SIGIO', () => {
      if (this.#timer) this.#connectIfThere();
    });
    this.#wait();
  }

  #wait(): void {
    this.#timer = setInterval(this.#look, LOOK_AGAIN_MS);
    setAsync(this.#fd, true);
    this.#connectIfThere();
  }

  #connectIfThere(): void {
    if (!hostConnected(this.#fd)) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    setAsync(this.#fd, false);
    this.#connect();
  }

  #connect(): void {
    // Frames are views of the one buffer: whoever keeps a payload copies it.
    const onread = {
      buffer: this.#buffer,
      callback: (count: number, bytes: Uint8Array): boolean => {
        connection.receive((bytes as Buffer).subarray(0, count));
        return true;
      },
    };
    const socket = openStream(dup(this.#fd), { onread });
    const connection: Connection = this.#sessions.begin(socket, {
      manualReceive: true,
      opened: this.#opened,
      closed: () => this.#settle(socket),
    });
    socket.resume();
  }

  /**
   * A GOAWAY may still be leaving, and must not be cut. But what waits for a host that has left must never
   * reach the next one: then the rest is dropped.
   */
  #settle(socket: Socket): void {
    let settled = false;
    const done = (): void => {
      if (settled) return;
      settled = true;
      clearInterval(timer);
      socket.destroy();
      // The descriptor is closed in the next turn of the event loop; then the copy is gone.
      setImmediate(() => this.#wait());
    };
    const check = (): void => {
      if (socket.writableLength === 0 || !hostConnected(this.#fd)) done();
    };
    const timer = setInterval(check, LOOK_AGAIN_MS);
    socket.once('finish', done);
    setImmediate(check);
  }
}

/** @throws Error when the VM has no such port */
export function linkPortPath(): string {
  const path = findPort(PORT_NAME);
  if (path === undefined) {
    throw new Error(
      `there is no virtio-serial port named ${PORT_NAME}; the VM was started without it, or the driver virtio_console is missing`,
    );
  }
  return path;
}
