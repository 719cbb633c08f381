/**
 * AF_VSOCK stream sockets as plain descriptors (vsock(7), linux/vm_sockets.h). A port of one machine (CID) is
 * reached from another on the same host: 2 is the host, 1 the machine itself (module vsock_loopback), others guests.
 *
 * `openStream` makes a net.Socket of a connection: libuv's pipe handle does with it what it does with a unix socket.
 */
import { randomInt } from 'node:crypto';
import { constants } from 'node:os';
import { SysError } from './error.ts';
import { close } from './fd.ts';
import { check, lastErrno, libc } from './libc.ts';
import { Watch } from './poll.ts';
import { accept } from './socket.ts';

const cSocket = libc('int socket(int domain, int type, int protocol)');
const cBind = libc('int bind(int fd, const void *address, uint32_t length)');
const cListen = libc('int listen(int fd, int backlog)');
const cConnect = libc('int connect(int fd, const void *address, uint32_t length)');
const cGetsockopt = libc('int getsockopt(int fd, int level, int option, void *value, void *length)');
const cGetpeername = libc('int getpeername(int fd, void *address, void *length)');
const cGetsockname = libc('int getsockname(int fd, void *address, void *length)');

const AF_VSOCK = 40;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** asm-generic/socket.h */
const SOL_SOCKET = 1;
const SO_ERROR = 4;

/** Any of this machine's CIDs: for listening. */
export const VSOCK_CID_ANY = 0xffff_ffff;
/** This machine, where the module vsock_loopback is loaded. */
export const VSOCK_CID_LOCAL = 1;
export const VSOCK_CID_HOST = 2;
/** The first CID that a guest may have; the ones below have meanings of their own. */
export const VSOCK_CID_FIRST_GUEST = 3;
/** The kernel chooses. */
export const VSOCK_PORT_ANY = 0xffff_ffff;
/** Ports up to here are for whoever has CAP_NET_BIND_SERVICE (LAST_RESERVED_PORT, net/vmw_vsock/af_vsock.c). */
export const VSOCK_LAST_RESERVED_PORT = 1023;

export interface VsockAddress {
  readonly cid: number;
  readonly port: number;
}

export const SOCKADDR_VM_BYTES = 16;

// struct sockaddr_vm { u16 family, reserved; u32 port, cid; u8 flags, zero[3] }
export function encodeVsockAddress({ cid, port }: VsockAddress): Buffer {
  for (const [name, value] of Object.entries({ cid, port })) {
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff)
      throw new RangeError(`the vsock ${name} ${value} is no number of 32 bits`);
  }
  const address = Buffer.alloc(SOCKADDR_VM_BYTES);
  address.writeUInt16LE(AF_VSOCK, 0);
  address.writeUInt32LE(port, 4);
  address.writeUInt32LE(cid, 8);
  return address;
}

export function decodeVsockAddress(address: Buffer): VsockAddress {
  const family = address.length < SOCKADDR_VM_BYTES ? -1 : address.readUInt16LE(0);
  if (family !== AF_VSOCK) throw new TypeError(`an address of family ${family} is no vsock address`);
  return { cid: address.readUInt32LE(8), port: address.readUInt32LE(4) };
}

export const describeVsockAddress = ({ cid, port }: VsockAddress): string => `vsock ${cid}:${port}`;

function newSocket(subject: string): number {
  const fd = cSocket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) as number;
  if (fd >= 0) return fd;
  const errno = lastErrno();
  const hint =
    errno === constants.errno.EAFNOSUPPORT ? 'this kernel has no AF_VSOCK: load the module vsock' : undefined;
  throw new SysError(errno, 'socket', subject, hint);
}

function orClose(fd: number, action: () => void): number {
  try {
    action();
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** A nonblocking socket that listens on a port; take connections with `accept`. */
export function listenVsock(address: VsockAddress): number {
  const subject = describeVsockAddress(address);
  const bytes = encodeVsockAddress(address);
  const fd = newSocket(subject);
  return orClose(fd, () => {
    check(cBind(fd, bytes, bytes.length), 'bind', subject);
    check(cListen(fd, 16), 'listen', subject);
  });
}

/** Who is at the other end of a connection. */
export const vsockPeer = (fd: number): VsockAddress => nameOf(cGetpeername, 'getpeername', fd);
/** Where a socket is bound. */
export const vsockName = (fd: number): VsockAddress => nameOf(cGetsockname, 'getsockname', fd);

function nameOf(call: typeof cGetpeername, syscall: string, fd: number): VsockAddress {
  const address = Buffer.alloc(SOCKADDR_VM_BYTES);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(address.length);
  check(call(fd, address, length), syscall, `descriptor ${fd}`);
  return decodeVsockAddress(address);
}

/** Accepts connections as they come; each descriptor is the callback's. */
export class VsockListener implements Disposable {
  readonly #fd: number;
  readonly #watch: Watch;

  constructor(address: VsockAddress, onConnection: (fd: number, peer: VsockAddress) => void) {
    const listener = listenVsock(address);
    this.#fd = listener;
    this.#watch = new Watch(listener, { readable: true }, () => {
      for (let fd = accept(listener); fd !== 'again'; fd = accept(listener)) {
        let peer: VsockAddress;
        try {
          peer = vsockPeer(fd);
        } catch {
          // Gone already (ENOTCONN): there is nobody to talk to.
          close(fd);
          continue;
        }
        onConnection(fd, peer);
      }
    });
  }

  /** The port, also where the kernel chose it. */
  get port(): number {
    return vsockName(this.#fd).port;
  }

  close(): void {
    this.#watch.close();
    close(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

export interface VsockConnectOptions {
  /**
   * Come from a reserved port, which the peer can see: among the users of a host it tells those with
   * CAP_NET_BIND_SERVICE, since AF_VSOCK has no other permissions.
   */
  readonly reservedPort?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * Connects; the descriptor is nonblocking. The kernel gives up after 2 s by itself (ETIMEDOUT).
 * @throws SysError 'ENODEV' when there is no such machine, 'ECONNRESET' when nobody listens on the port,
 *   'ETIMEDOUT' when the machine does not answer, 'EACCES' for a reserved port without the capability; the
 *   signal's reason
 */
export async function connectVsock(to: VsockAddress, options: VsockConnectOptions = {}): Promise<number> {
  options.signal?.throwIfAborted();
  const subject = describeVsockAddress(to);
  const bytes = encodeVsockAddress(to);
  const fd = newSocket(subject);
  try {
    if (options.reservedPort === true) bindReserved(fd);
    if (cConnect(fd, bytes, bytes.length) === -1) {
      const errno = lastErrno();
      if (errno !== constants.errno.EINPROGRESS) throw new SysError(errno, 'connect', subject);
      await writable(fd, options.signal);
      const failure = socketError(fd);
      if (failure !== 0) throw new SysError(failure, 'connect', subject);
    }
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Ports in use are passed over; where the search begins is random, so that many links do not all try the same. */
function bindReserved(fd: number): void {
  const first = randomInt(VSOCK_LAST_RESERVED_PORT);
  for (let tried = 0; tried < VSOCK_LAST_RESERVED_PORT; tried++) {
    const port = ((first + tried) % VSOCK_LAST_RESERVED_PORT) + 1;
    const bytes = encodeVsockAddress({ cid: VSOCK_CID_ANY, port });
    if (cBind(fd, bytes, bytes.length) === 0) return;
    const errno = lastErrno();
    if (errno === constants.errno.EADDRINUSE) continue;
    const hint =
      errno === constants.errno.EACCES
        ? 'ports up to 1023 need CAP_NET_BIND_SERVICE: run as root, or use another transport'
        : undefined;
    throw new SysError(errno, 'bind', `vsock port ${port}`, hint);
  }
  throw new SysError(
    constants.errno.EADDRINUSE,
    'bind',
    'a reserved vsock port',
    `all ${VSOCK_LAST_RESERVED_PORT} are in use`,
  );
}

function writable(fd: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const watch = new Watch(fd, { writable: true }, () => end(resolve));
    const aborted = (): void => end(() => reject(signal?.reason));
    const end = (settle: () => void): void => {
      watch.close();
      signal?.removeEventListener('abort', aborted);
      settle();
    };
    signal?.addEventListener('abort', aborted);
  });
}

function socketError(fd: number): number {
  const value = Buffer.alloc(4);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  check(cGetsockopt(fd, SOL_SOCKET, SO_ERROR, value, length), 'getsockopt SO_ERROR', `descriptor ${fd}`);
  return value.readInt32LE(0);
}
