/**
 * The link in a guest: one virtio-serial port. Closing it would throw away what the host has queued (512 KiB were
 * seen to vanish), so it stays open, and each connection works on a copy of the descriptor.
 *
 *                    ┌──── the port is worn, stale or replaced ────┐
 *                    ▼                                             │
 *   start ─────► opening ── the port could be opened ──► waiting ◄─┼──────────────────────────┐
 *                 │   ▲                                    │       │                          │
 *                 └───┘ no port yet, EBUSY                 │ the host is there                │
 *                 every 250 ms                             ▼                                  │
 *                                                      connected ── end of file, rules ──► settling
 *                                                       │     ▲     broken, reopen()      at most 1 s
 *                                                       └─────┘ a preamble: new epoch
 *
 * Every state ends without the host's help: `opening` and `waiting` look every 250 ms; `connected` reads, and so
 * sees the host leave; `settling` ends when nothing is left to write, the host has left, or the socket is closed.
 *
 * While no host is connected the port reads end of file at once. Its return is announced by SIGIO only, and
 * SIGIO also comes for every buffer: so it is on only while waiting, with a look now and then besides.
 *
 * A host that leaves and one that comes at once look like one: epoll has seen the first leave, the read gives what the
 * second has sent, and then libuv ends the socket for the first (uv__stream_io, POLLHUP after a partial read). The second
 * was answered and believes that it is connected; a new connection here knows nothing of it. So when a connection ends
 * and a host is there, that host is made to connect anew, in the way that the next paragraph says.
 *
 * *Stale*: reopen() was called. *Replaced*: a port that was unplugged reads as if its host had left; the one that is
 * plugged in after it is another device, and is opened in its place. *Worn*: see `MAX_WEAR`. What both sides had
 * queued is lost then, and the host does not know: so the first that is written are the bytes that no frame
 * survives (docs/protocol.md, "Torn frames"), and the host connects anew.
 */
import { fstatSync, statSync } from 'node:fs';
import type { Socket } from 'node:net';
import { close, dup, findPort, hasCode, hostConnected, openPort, openStream, setAsync } from '@coracle/sys';
import type { Connection } from '@coracle/wire';
import { log, reasonOf } from './log.ts';
import { resetPortDevice } from './port-device.ts';
import type { SessionHost } from './session.ts';

export const PORT_NAME = 'coracle.link.0';
/** In case a SIGIO comes between the look and the request for it. */
const LOOK_AGAIN_MS = 250;
/** A read of the port returns at most 4 KiB; libuv reads on while there is more. */
const READ_BYTES = 64 * 1024;
/** As long as the longest frame: whatever was cut is completed, with a wrong trailer. */
const TEAR_BYTES = 32_768;
/**
 * QEMU keeps for itself a write that it could not hand over whole when the host left (hw/char/virtio-serial-bus.c,
 * discard_throttle_data, as of 7.2): the queue towards the host has one of its 128 places less each time, and after
 * 128 times none. Resetting the device gives all back. A connection costs one place at most.
 */
const MAX_WEAR = 32;

export class PortLink {
  #fd: number;
  /** The port is to be closed and opened, or was closed and could not be opened yet. */
  #stale = false;
  /** The host may take what comes next for the rest of something else. */
  #torn = false;
  /** Hosts that were answered since the device was reset. */
  #wear = 0;
  #socket: Socket | undefined;
  readonly #sessions: SessionHost;
  readonly #opened: () => void;
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #timer: NodeJS.Timeout | undefined;
  #rehearsed: (() => void) | undefined;
  readonly #look = (): void => this.#connectIfThere();

  /** @param opened called whenever a host has greeted */
  constructor(sessions: SessionHost, opened: () => void) {
    this.#fd = openPort(linkPortPath());
    this.#sessions = sessions;
    this.#opened = opened;
    process.on('SIGIO', () => {
      if (this.#timer) this.#connectIfThere();
    });
    this.#wait();
  }

  /** Closes the port and opens it again; what is queued in it is lost, and the host connects anew. */
  reopen(): void {
    this.#stale = true;
    if (this.#timer !== undefined) this.#connectIfThere();
    else this.#socket?.destroy();
  }

  /**
   * Takes a descriptor for the port as long as its other end is there. Nothing may have come at the port yet.
   * @returns when the port is waited for again
   */
  rehearse(fd: number): Promise<void> {
    process.kill(process.pid, 'SIGIO');
    this.#look();
    this.#connect(fd);
    return new Promise((resolve) => (this.#rehearsed = resolve));
  }

  #wait(): void {
    if (this.#wear >= MAX_WEAR) this.#renew();
    this.#timer = setInterval(this.#look, LOOK_AGAIN_MS);
    if (!this.#stale) setAsync(this.#fd, true);
    this.#connectIfThere();
    this.#rehearsed?.();
  }

  #connectIfThere(): void {
    if ((this.#stale || isReplaced(this.#fd)) && !this.#openAgain()) return;
    if (hostConnected(this.#fd)) this.#connect(dup(this.#fd));
  }

  #renew(): void {
    this.#wear = 0;
    const path = findPort(PORT_NAME);
    if (path === undefined) return;
    this.#close();
    try {
      resetPortDevice(path);
    } catch (error) {
      log('warn', 'the device of the link could not be reset', { reason: reasonOf(error) });
    }
  }

  #close(): void {
    if (this.#fd >= 0) close(this.#fd);
    this.#fd = -1;
    this.#stale = this.#torn = true;
  }

  /** @returns false when there is no port to be opened just now: the next look tries again */
  #openAgain(): boolean {
    this.#close();
    const path = findPort(PORT_NAME);
    if (path === undefined) return false;
    try {
      this.#fd = openPort(path);
    } catch (error) {
      // The copy that the last connection had is not closed yet; or the port is being unplugged.
      if (['EBUSY', 'ENOENT', 'ENODEV', 'ENXIO'].some((code) => hasCode(error, code))) return false;
      throw error;
    }
    this.#stale = false;
    setAsync(this.#fd, true);
    return true;
  }

  #connect(fd: number): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    setAsync(this.#fd, false);
    // Frames are views of the one buffer: whoever keeps a payload copies it.
    const onread = {
      buffer: this.#buffer,
      callback: (count: number, bytes: Uint8Array): boolean => {
        connection.receive((bytes as Buffer).subarray(0, count));
        return true;
      },
    };
    const socket = openStream(fd, { onread });
    this.#socket = socket;
    if (this.#torn) socket.write(Buffer.alloc(TEAR_BYTES));
    this.#torn = false;
    const connection: Connection = this.#sessions.begin(socket, {
      manualReceive: true,
      opened: () => {
        this.#wear++;
        this.#opened();
      },
      closed: () => this.#settle(socket),
    });
    socket.resume();
  }

  /**
   * A GOAWAY may still be leaving, and must not be cut. But what waits for a host that has left must never
   * reach the next one: then the rest is dropped.
   */
  #settle(socket: Socket): void {
    if (hostConnected(this.#fd)) this.#torn = true;
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
      if (socket.destroyed || socket.writableLength === 0 || !hostConnected(this.#fd)) done();
    };
    const timer = setInterval(check, LOOK_AGAIN_MS);
    socket.once('finish', done);
    setImmediate(check);
  }
}

/** Whether the port was unplugged and another one has come. */
function isReplaced(fd: number): boolean {
  const path = findPort(PORT_NAME);
  if (path === undefined) return false;
  try {
    // devtmpfs: another device is another file, also under the same name.
    return statSync(path).ino !== fstatSync(fd).ino;
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** @throws Error when the VM has no such port */
function linkPortPath(): string {
  const path = findPort(PORT_NAME);
  if (path === undefined) {
    throw new Error(
      `there is no virtio-serial port named ${PORT_NAME}; the VM was started without it, or the driver virtio_console is missing`,
    );
  }
  return path;
}
