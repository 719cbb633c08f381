/** What a debugger may do to another process's descriptors. For tests and tools that break connections on purpose. */

import { close } from './fd.ts';
import { check, libc } from './libc.ts';
import { pidfdOpen } from './process.ts';

const cSyscall = libc('long syscall(long number, long pidfd, long fd, long flags)');
const cShutdown = libc('int shutdown(int fd, int how)');

/** asm-generic/unistd.h */
const SYS_PIDFD_GETFD = 438;
const SHUT_RDWR = 2;

/**
 * A copy of another process's descriptor, for the same open file (pidfd_getfd(2)). Needs the right to trace it.
 * @throws SysError ESRCH, EBADF, EPERM
 */
export function takeDescriptor(pid: number, fd: number): number {
  const pidfd = pidfdOpen(pid);
  try {
    return check(
      Number(cSyscall(SYS_PIDFD_GETFD, pidfd, fd, 0)),
      'pidfd_getfd',
      `descriptor ${fd} of process ${pid}`,
    );
  } finally {
    close(pidfd);
  }
}

/** Ends both directions of a connected socket, for all who hold it; both sides see its end. */
export function shutdownSocket(fd: number): void {
  check(cShutdown(fd, SHUT_RDWR), 'shutdown', `descriptor ${fd}`);
}
