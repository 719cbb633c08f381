/**
 * Passing descriptors over unix sockets (SCM_RIGHTS, unix(7) and cmsg(3)), and the console-socket protocol of
 * runc and crun: the runtime connects and sends the pty master with the name of the terminal as data
 * (runc docs/terminals.md).
 */
import { chmodSync, rmSync } from 'node:fs';
import { constants } from 'node:os';
import { SysError } from './error.ts';
import { close } from './fd.ts';
import { koffi } from './koffi.ts';
import { lastErrno, libc } from './libc.ts';
import { Watch } from './poll.ts';
import { accept, connectUnix, listenUnix } from './socket.ts';

const cSendmsg = libc('long sendmsg(int fd, const void *message, int flags)');
const cRecvmsg = libc('long recvmsg(int fd, void *message, int flags)');

const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
/** linux/socket.h */
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x40000000;

/** What may travel with a descriptor; runc sends the terminal's path, at most PATH_MAX. */
const DATA_MAX_BYTES = 4096;
/** A peer may send more descriptors than one; room for some, so that they are seen and closed. */
const DESCRIPTORS_MAX = 8;

// x86-64 (bits/socket.h). struct cmsghdr { size_t len; int level; int type; } and then the descriptors.
const CMSG_HEADER_BYTES = 16;
// struct iovec { void *base; size_t length; }
const iovec = Buffer.alloc(16);
// struct msghdr { void *name; u32 namelen; iovec *iov; size_t iovlen; void *control; size_t controllen; int flags; }
const message = Buffer.alloc(56);
const control = Buffer.alloc(CMSG_HEADER_BYTES + DESCRIPTORS_MAX * 4);
const payload = Buffer.alloc(DATA_MAX_BYTES);
let pointersSet = false;

// The kernel follows the addresses inside these structures, so they all live as long as this module.
function prepare(payloadBytes: number, controlBytes: number): void {
  if (!pointersSet) {
    iovec.writeBigUInt64LE(koffi().address(payload), 0);
    message.writeBigUInt64LE(koffi().address(iovec), 16);
    message.writeBigUInt64LE(1n, 24);
    message.writeBigUInt64LE(koffi().address(control), 32);
    pointersSet = true;
  }
  iovec.writeBigUInt64LE(BigInt(payloadBytes), 8);
  message.writeBigUInt64LE(BigInt(controlBytes), 40);
  message.writeInt32LE(0, 48);
}

/**
 * Sends one descriptor with at least one byte of data. Ours stays open.
 * @throws SysError 'EAGAIN' when the socket's buffer is full, 'EPIPE' when the peer is gone
 */
export function sendDescriptor(socketFd: number, fd: number, data: Uint8Array): void {
  if (data.length === 0 || data.length > DATA_MAX_BYTES) {
    throw new SysError(
      constants.errno.EMSGSIZE,
      'sendmsg',
      `descriptor ${socketFd}`,
      `send 1 to ${DATA_MAX_BYTES} bytes of data with it`,
    );
  }
  payload.set(data);
  prepare(data.length, CMSG_HEADER_BYTES + 8);
  control.fill(0, 0, CMSG_HEADER_BYTES + 8);
  control.writeBigUInt64LE(BigInt(CMSG_HEADER_BYTES + 4), 0);
  control.writeInt32LE(SOL_SOCKET, 8);
  control.writeInt32LE(SCM_RIGHTS, 12);
  control.writeInt32LE(fd, CMSG_HEADER_BYTES);
  for (;;) {
    if (Number(cSendmsg(socketFd, message, MSG_NOSIGNAL | MSG_DONTWAIT)) !== -1) return;
    const errno = lastErrno();
    if (errno !== constants.errno.EINTR) throw new SysError(errno, 'sendmsg', `descriptor ${socketFd}`);
  }
}

export interface ReceivedDescriptor {
  /** Close-on-exec; the caller's. */
  readonly descriptor: number;
  readonly data: Buffer;
}

/**
 * Takes one descriptor and its data (up to 4096 bytes) without waiting; 'eof' when the peer closed.
 * Surplus descriptors are closed.
 * @throws SysError 'EBADMSG' when data came without a descriptor
 */
export function receiveDescriptor(socketFd: number): ReceivedDescriptor | 'again' | 'eof' {
  prepare(DATA_MAX_BYTES, control.length);
  control.fill(0);
  let count: number;
  do {
    count = Number(cRecvmsg(socketFd, message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT));
    const errno = count === -1 ? lastErrno() : 0;
    if (errno === constants.errno.EAGAIN) return 'again';
    if (errno !== 0 && errno !== constants.errno.EINTR) {
      throw new SysError(errno, 'recvmsg', `descriptor ${socketFd}`);
    }
  } while (count === -1);
  const [descriptor, ...surplus] = receivedDescriptors();
  for (const fd of surplus) close(fd);
  if (descriptor !== undefined) return { descriptor, data: Buffer.from(payload.subarray(0, count)) };
  if (count === 0) return 'eof';
  throw new SysError(
    constants.errno.EBADMSG,
    'recvmsg',
    `descriptor ${socketFd}`,
    'data came without a descriptor',
  );
}

// We ask for no other ancillary data (no SO_PASSCRED), so there is at most one header and it is SCM_RIGHTS.
function receivedDescriptors(): number[] {
  const controlBytes = Number(message.readBigUInt64LE(40));
  if (controlBytes < CMSG_HEADER_BYTES) return [];
  if (control.readInt32LE(8) !== SOL_SOCKET || control.readInt32LE(12) !== SCM_RIGHTS) return [];
  const end = Math.min(Number(control.readBigUInt64LE(0)), controlBytes);
  const fds: number[] = [];
  for (let offset = CMSG_HEADER_BYTES; offset + 4 <= end; offset += 4) fds.push(control.readInt32LE(offset));
  return fds;
}

/**
 * The receiving end of `--console-socket`: listens at `path` (mode 0600), takes one connection and one
 * descriptor from it, and removes the socket file however it ends. It listens already when this returns, so a
 * runtime started next finds the socket; the event loop is never blocked.
 * @throws SysError (rejection) 'EADDRINUSE', 'ENAMETOOLONG', 'ECONNRESET' if the peer closed without sending;
 *   the signal's reason when aborted
 */
export async function acceptDescriptor(path: string, signal?: AbortSignal): Promise<ReceivedDescriptor> {
  signal?.throwIfAborted();
  const listener = listenUnix(path);
  let connection: number | undefined;
  let watch: Watch | undefined;
  const { promise, resolve, reject } = Promise.withResolvers<ReceivedDescriptor>();
  const onAbort = () => reject(signal?.reason);
  signal?.addEventListener('abort', onAbort);

  const onConnection = () => {
    const accepted = accept(listener);
    if (accepted === 'again') return;
    watch?.close();
    connection = accepted;
    watch = new Watch(connection, { readable: true }, guard(onMessage));
  };
  const onMessage = () => {
    const received = receiveDescriptor(connection!);
    if (received === 'again') return;
    watch?.close();
    if (received === 'eof')
      throw new SysError(
        constants.errno.ECONNRESET,
        'recvmsg',
        path,
        'the peer closed without sending a descriptor',
      );
    resolve(received);
  };
  const guard = (step: () => void) => () => {
    try {
      step();
    } catch (error) {
      watch?.close();
      reject(error);
    }
  };

  try {
    chmodSync(path, 0o600);
    watch = new Watch(listener, { readable: true }, guard(onConnection));
    return await promise;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    watch?.close();
    if (connection !== undefined) close(connection);
    close(listener);
    rmSync(path, { force: true });
  }
}

/** The sending end of `--console-socket`: connects to `path`, sends the descriptor, and hangs up. */
export function sendDescriptorTo(path: string, fd: number, data: Uint8Array): void {
  const socketFd = connectUnix(path);
  try {
    sendDescriptor(socketFd, fd, data);
  } finally {
    close(socketFd);
  }
}
