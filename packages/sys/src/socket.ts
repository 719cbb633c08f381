/** Unix sockets as plain descriptors, for what net.Socket hides: ancillary data and peer credentials. */
import { constants } from 'node:os';
import { SysError } from './error.ts';
import { close } from './fd.ts';
import { check, lastErrno, libc } from './libc.ts';

const cSocket = libc('int socket(int domain, int type, int protocol)');
const cBind = libc('int bind(int fd, const void *address, uint32_t length)');
const cListen = libc('int listen(int fd, int backlog)');
const cConnect = libc('int connect(int fd, const void *address, uint32_t length)');
const cAccept4 = libc('int accept4(int fd, void *address, void *length, int flags)');
const cGetsockopt = libc('int getsockopt(int fd, int level, int option, void *value, void *length)');
const cSocketpair = libc('int socketpair(int domain, int type, int protocol, void *fds)');

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
/** asm-generic/socket.h */
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

/** sun_path has 108 bytes, the last of which is the terminating NUL (unix(7)). */
export const SOCKET_PATH_MAX_BYTES = 107;

// struct sockaddr_un { u16 family; char path[108] } (linux/un.h)
function unixAddress(path: string): Buffer {
  const bytes = Buffer.from(path);
  if (bytes.length === 0 || bytes.length > SOCKET_PATH_MAX_BYTES || bytes.includes(0)) {
    const hint = `a socket path has 1 to ${SOCKET_PATH_MAX_BYTES} bytes without NUL, this one ${bytes.length}; use a shorter folder`;
    throw new SysError(constants.errno.ENAMETOOLONG, 'bind or connect', JSON.stringify(path), hint);
  }
  const address = Buffer.alloc(2 + bytes.length + 1);
  address.writeUInt16LE(AF_UNIX, 0);
  bytes.copy(address, 2);
  return address;
}

function newSocket(): number {
  return check(
    cSocket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0),
    'socket',
    'a new unix socket',
  );
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

/** A nonblocking unix socket that listens at `path`, which must not exist. The caller removes the file. */
export function listenUnix(path: string): number {
  const address = unixAddress(path);
  const fd = newSocket();
  return orClose(fd, () => {
    check(cBind(fd, address, address.length), 'bind', path);
    check(cListen(fd, 1), 'listen', path);
  });
}

/** Connects to a unix socket without waiting; EAGAIN if its queue is full. The descriptor is nonblocking. */
export function connectUnix(path: string): number {
  const address = unixAddress(path);
  const fd = newSocket();
  return orClose(fd, () => check(cConnect(fd, address, address.length), 'connect', path));
}

/** Takes one waiting connection, nonblocking and close-on-exec. */
export function accept(listener: number): number | 'again' {
  const fd = cAccept4(listener, null, null, SOCK_NONBLOCK | SOCK_CLOEXEC) as number;
  if (fd >= 0) return fd;
  const errno = lastErrno();
  const { EAGAIN, EINTR, ECONNABORTED } = constants.errno;
  if (errno === EAGAIN || errno === EINTR || errno === ECONNABORTED) return 'again';
  throw new SysError(errno, 'accept4', `descriptor ${listener}`);
}

/** Two connected, nonblocking unix stream sockets. */
export function socketPair(): [number, number] {
  const fds = Buffer.alloc(8);
  const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  check(cSocketpair(AF_UNIX, type, 0, fds), 'socketpair', 'new unix sockets');
  return [fds.readInt32LE(0), fds.readInt32LE(4)];
}

export interface PeerCredentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** Who connected (or listened), as of that moment: struct ucred of linux/socket.h, three 32-bit numbers. */
export function peerCredentials(fd: number): PeerCredentials {
  const value = Buffer.alloc(12);
  const length = Buffer.alloc(4);
  length.writeUInt32LE(value.length);
  check(
    cGetsockopt(fd, SOL_SOCKET, SO_PEERCRED, value, length),
    'getsockopt SO_PEERCRED',
    `descriptor ${fd}`,
  );
  return { pid: value.readInt32LE(0), uid: value.readUInt32LE(4), gid: value.readUInt32LE(8) };
}
