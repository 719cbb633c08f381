import { constants } from 'node:os';
import { SysError } from './error.ts';
import { check, lastErrno, libc } from './libc.ts';

const { EAGAIN, EINTR } = constants.errno;

/** asm-generic/fcntl.h */
const F_GETFL = 3;
const F_SETFL = 4;
const F_DUPFD_CLOEXEC = 1030;
const F_SETPIPE_SZ = 1031;
const O_NONBLOCK = 0o4000;
const O_CLOEXEC = 0o2000000;
/** asm-generic/ioctls.h */
const FIONREAD = 0x541b;

const cClose = libc('int close(int fd)');
const cPipe2 = libc('int pipe2(void *fds, int flags)');
const cFcntl = libc('int fcntl(int fd, int command, long argument)');
const cIoctl = libc('int ioctl(int fd, unsigned long request, void *argument)');
const cRead = libc('long read(int fd, void *buffer, size_t count)');
const cWrite = libc('long write(int fd, const void *buffer, size_t count)');

const intBuffer = Buffer.alloc(4);

/** Closes a descriptor. EINTR counts as done: Linux has released it (close(2)). */
export function close(fd: number): void {
  if (cClose(fd) === -1 && lastErrno() !== EINTR)
    throw new SysError(lastErrno(), 'close', `descriptor ${fd}`);
}

/** A copy of the descriptor with close-on-exec set, numbered `atLeast` or above. */
export function dup(fd: number, atLeast = 0): number {
  return check(cFcntl(fd, F_DUPFD_CLOEXEC, atLeast), 'dup', `descriptor ${fd}`);
}

export interface Pipe {
  readonly read: number;
  readonly write: number;
}

/** Makes a pipe, both ends close-on-exec and, unless asked otherwise, blocking. */
export function pipe2(options: { nonblockingRead?: boolean; nonblockingWrite?: boolean } = {}): Pipe {
  const fds = Buffer.alloc(8);
  check(cPipe2(fds, O_CLOEXEC), 'pipe2', 'a new pipe');
  const pipe = { read: fds.readInt32LE(0), write: fds.readInt32LE(4) };
  // Set on each end by itself: the flag belongs to the open file description, and the ends have one each.
  if (options.nonblockingRead) setNonblocking(pipe.read, true);
  if (options.nonblockingWrite) setNonblocking(pipe.write, true);
  return pipe;
}

/** Sets or clears O_NONBLOCK. It belongs to the open file description, so every copy of `fd` changes. */
export function setNonblocking(fd: number, on: boolean): void {
  const flags = check(cFcntl(fd, F_GETFL, 0), 'fcntl F_GETFL', `descriptor ${fd}`);
  const wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  if (wanted !== flags) check(cFcntl(fd, F_SETFL, wanted), 'fcntl F_SETFL', `descriptor ${fd}`);
}

/**
 * Asks for room for `bytes` in a pipe; 64 KiB is the default. The kernel rounds up to a power of two of pages.
 * @returns false when it refuses: without CAP_SYS_RESOURCE there is a limit for a pipe and one for a user's
 * pipes together (pipe(7)); the pipe is as it was then
 */
export function setPipeSize(fd: number, bytes: number): boolean {
  return cFcntl(fd, F_SETPIPE_SZ, bytes) !== -1;
}

/** How many bytes can be read at once from a pipe, socket or terminal (FIONREAD). */
export function bytesReadable(fd: number): number {
  check(cIoctl(fd, FIONREAD, intBuffer), 'ioctl FIONREAD', `descriptor ${fd}`);
  return intBuffer.readInt32LE(0);
}

/**
 * Reads from a nonblocking descriptor without throwing where nothing is there: the count of bytes,
 * 'again' (EAGAIN), or 'eof'.
 *
 * 'eof' also stands for the EIO of a pty master whose slave has been closed by everybody: the kernel gives it
 * only after the last byte (drivers/tty/n_tty.c). Other descriptors' EIO is thrown only if `eioIsEof` is false.
 * @param buffer where the bytes go; at most `buffer.length` (give a subarray to read less)
 */
export function read(fd: number, buffer: Uint8Array, eioIsEof = true): number | 'again' | 'eof' {
  for (;;) {
    const count = Number(cRead(fd, buffer, buffer.length));
    if (count > 0) return count;
    if (count === 0) return buffer.length === 0 ? 0 : 'eof';
    const errno = lastErrno();
    if (errno === EAGAIN) return 'again';
    if (errno === constants.errno.EIO && eioIsEof) return 'eof';
    if (errno !== EINTR) throw new SysError(errno, 'read', `descriptor ${fd}`);
  }
}

/**
 * Writes to a nonblocking descriptor: the count of bytes taken (maybe fewer than given), or 'again' (EAGAIN).
 * @throws SysError 'EPIPE' when nobody can read any more (Node ignores SIGPIPE)
 */
export function write(fd: number, bytes: Uint8Array): number | 'again' {
  for (;;) {
    const count = Number(cWrite(fd, bytes, bytes.length));
    if (count >= 0) return count;
    const errno = lastErrno();
    if (errno === EAGAIN) return 'again';
    if (errno !== EINTR) throw new SysError(errno, 'write', `descriptor ${fd}`);
  }
}
