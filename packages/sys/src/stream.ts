/**
 * A net.Socket on any descriptor that epoll takes: pipes, sockets, virtio-serial ports, terminals' slaves.
 *
 * `new net.Socket({ fd })` accepts only pipes and sockets (ERR_INVALID_FD_TYPE). libuv's pipe handle is no
 * pickier than read(2), write(2) and epoll, so the descriptor is put into one.
 *
 * A pty master is refused: after a short read under POLLHUP libuv reports the end of file without reading on
 * (uv__stream_io in src/unix/stream.c), and since each read of a pty is short, the tail of the output would be
 * lost (microsoft/node-pty#726). `PtyStream` reads until the kernel has nothing left.
 *
 * A virtio-serial port whose host has left polls as hung up and takes no bytes; libuv would go on trying to
 * write what is queued without a pause. On the stream's 'end', destroy it (work on a `dup` so that the port
 * itself stays open, see `port.ts`).
 */

import net from 'node:net';
import { constants } from 'node:os';
import { SysError } from './error.ts';
import { check, libc } from './libc.ts';
import { assertPollable } from './poll.ts';
import { isPtyMaster } from './pty.ts';

const cFcntl = libc('int fcntl(int fd, int command, long argument)');
const F_GETFL = 3;
const O_ACCMODE = 3;
const O_RDONLY = 0;
const O_WRONLY = 1;

interface PipeHandle {
  open(fd: number): number;
}
interface PipeBinding {
  readonly Pipe: new (type: number) => PipeHandle;
  readonly constants: { readonly SOCKET: number };
}

export interface StreamOptions {
  /**
   * net.Socket's `onread`: bytes go into one buffer of the caller's (or into what the function gives each time)
   * and `callback(count, buffer)` is called instead of 'data'; returning false pauses until `resume()`.
   */
  readonly onread?: net.OnReadOpts;
  /** Whether the writing side stays open after the end of file; true unless given. */
  readonly allowHalfOpen?: boolean;
}

// process.binding is deprecated in the documentation (DEP0111) and warns only under --pending-deprecation.
// Node's own net and tty modules reach the same class through internalBinding; there is no public way.
function pipeBinding(): PipeBinding {
  const target = process as unknown as { binding(name: string): PipeBinding; noDeprecation?: boolean };
  const before = target.noDeprecation;
  target.noDeprecation = true;
  try {
    return target.binding('pipe_wrap');
  } finally {
    if (before === undefined) delete target.noDeprecation;
    else target.noDeprecation = before;
  }
}

let binding: PipeBinding | undefined;

/**
 * Wraps a descriptor, which from then on belongs to the socket (keep a `dup` to go on using it) and becomes
 * nonblocking. `end()` on a pipe closes it; on a port or terminal, which have no half-close, it only stops
 * writing until the socket is destroyed.
 * @throws SysError 'EPERM' for files and devices without poll, 'EINVAL' for a pty master, 'EBADF'
 */
export function openStream(fd: number, options: StreamOptions = {}): net.Socket {
  const mode = check(cFcntl(fd, F_GETFL, 0), 'fcntl F_GETFL', `descriptor ${fd}`) & O_ACCMODE;
  assertPollable(fd);
  if (isPtyMaster(fd)) {
    throw new SysError(
      constants.errno.EINVAL,
      'openStream',
      `pty master ${fd}`,
      'it would lose the end of the output; use PtyStream',
    );
  }
  binding ??= pipeBinding();
  const handle = new binding.Pipe(binding.constants.SOCKET);
  const error = handle.open(fd);
  if (error < 0) throw new SysError(-error, 'uv_pipe_open', `descriptor ${fd}`);
  return new net.Socket({
    handle,
    readable: mode !== O_WRONLY,
    writable: mode !== O_RDONLY,
    allowHalfOpen: options.allowHalfOpen ?? true,
    ...(options.onread === undefined ? {} : { onread: options.onread }),
  } as unknown as net.SocketConstructorOpts);
}

/**
 * The descriptor of a connected socket, for what net.Socket cannot do with it, such as passing descriptors (scm.ts). It stays the
 * socket's. Whoever writes to it past the socket sees to it that nothing waits in the socket.
 * @throws SysError 'ENOTCONN'
 */
export function descriptorOf(socket: net.Socket): number {
  const { fd } = (socket as unknown as { _handle: { fd?: number } | null })._handle ?? {};
  if (fd !== undefined && fd >= 0) return fd;
  throw new SysError(constants.errno.ENOTCONN, 'descriptorOf', 'a socket that is not connected');
}
