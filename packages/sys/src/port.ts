/**
 * virtio-serial ports in the guest (Linux drivers/char/virtio_console.c).
 *
 * A port opens once (EBUSY). While no host is connected it polls as readable and hung up and reads end of
 * file at once; the host's return is announced only by SIGIO, to whoever asked with `setAsync`. So: on 'eof'
 * stop reading, `setAsync(fd, true)`, look with `hostConnected` once more (it may have come in between) and
 * then at each SIGIO, and `setAsync(fd, false)` when it is there, since SIGIO also comes for every buffer.
 */
import { constants, openSync, readdirSync, readFileSync } from 'node:fs';
import { constants as os } from 'node:os';
import { join } from 'node:path';
import { SysError } from './error.ts';
import { check, libc } from './libc.ts';
import { POLLHUP, POLLOUT, pollNow } from './poll.ts';

const cFcntl = libc('int fcntl(int fd, int command, long argument)');

/** asm-generic/fcntl.h */
const F_GETFL = 3;
const F_SETFL = 4;
const F_SETOWN = 8;
const O_ASYNC = 0o20000;
const O_CLOEXEC = 0o2000000;

const PORTS_FOLDER = '/sys/class/virtio-ports';

/** The device of the port with this name (QEMU's `name=`), such as /dev/vport1p1; undefined if there is none. */
export function findPort(name: string, portsFolder: string = PORTS_FOLDER): string | undefined {
  let ports: string[];
  try {
    ports = readdirSync(portsFolder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  const port = ports.find((entry) => portName(join(portsFolder, entry, 'name')) === name);
  return port === undefined ? undefined : join('/dev', port);
}

// A port without a name has no such file.
function portName(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Opens a port for reading and writing, nonblocking. */
export function openPort(path: string): number {
  try {
    return openSync(path, constants.O_RDWR | constants.O_NONBLOCK | O_CLOEXEC);
  } catch (cause) {
    const error = cause as NodeJS.ErrnoException;
    const hint = error.code === 'EBUSY' ? 'a port can be opened once; somebody has it open' : undefined;
    throw new SysError(-(error.errno ?? -os.errno.EIO), 'open', path, hint);
  }
}

/** Whether a host is connected to the port. */
export function hostConnected(fd: number): boolean {
  return (pollNow(fd, POLLOUT) & POLLHUP) === 0;
}

/** Has the kernel send this process SIGIO when something happens on the port, the host's return included. */
export function setAsync(fd: number, on: boolean): void {
  const subject = `descriptor ${fd}`;
  if (on) check(cFcntl(fd, F_SETOWN, process.pid), 'fcntl F_SETOWN', subject);
  const flags = check(cFcntl(fd, F_GETFL, 0), 'fcntl F_GETFL', subject);
  check(cFcntl(fd, F_SETFL, on ? flags | O_ASYNC : flags & ~O_ASYNC), 'fcntl F_SETFL', subject);
}
