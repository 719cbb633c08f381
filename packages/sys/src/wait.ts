import { constants } from 'node:os';
import { SysError } from './error.ts';
import { lastErrno, libc } from './libc.ts';
import { signalName } from './signals.ts';

const cWait4 = libc('int wait4(int pid, void *status, int options, void *rusage)');

/** linux/wait.h */
const WNOHANG = 1;
/** Also wait for children that were made by clone without SIGCHLD. */
const ALL_CHILDREN = 0x40000000;

export interface Reaped {
  readonly pid: number;
  /** The raw wait status, see `decodeWaitStatus`. */
  readonly status: number;
}

export type WaitStatus =
  | { readonly kind: 'exited'; readonly code: number }
  | {
      readonly kind: 'signalled';
      readonly signal: string;
      readonly signalNumber: number;
      readonly coreDumped: boolean;
    };

const statusBuffer = Buffer.alloc(4);

function wait(pid: number): Reaped | undefined {
  for (;;) {
    const result = cWait4(pid, statusBuffer, WNOHANG | ALL_CHILDREN, null) as number;
    if (result > 0) return { pid: result, status: statusBuffer.readInt32LE(0) };
    if (result === 0) return undefined;
    // Any child, without waiting: that there is none is all that can be wrong (wait(2)).
    if (pid === -1) return undefined;
    const errno = lastErrno();
    if (errno === constants.errno.EINTR) continue;
    throw new SysError(errno, 'wait4', `process ${pid}`);
  }
}

/**
 * Takes every child that has ended, without waiting. For the one place that reaps (call it on SIGCHLD: one
 * signal may stand for many children). It takes children of node:child_process too, whose exits libuv then
 * never sees: a program that calls this starts its children with `spawn` of this package only.
 */
export function reap(): Reaped[] {
  const reaped: Reaped[] = [];
  for (let one = wait(-1); one !== undefined; one = wait(-1)) reaped.push(one);
  return reaped;
}

/**
 * The status of one child if it has ended (it is reaped then), otherwise undefined.
 * @throws SysError 'ECHILD' if it is not our child or was reaped before
 */
export function waitPid(pid: number): number | undefined {
  return wait(pid)?.status;
}

/** Takes a wait status apart (WIFEXITED and its siblings of wait(2)). */
export function decodeWaitStatus(status: number): WaitStatus {
  const termination = status & 0x7f;
  if (termination === 0) return { kind: 'exited', code: (status >> 8) & 0xff };
  return {
    kind: 'signalled',
    signal: signalName(termination),
    signalNumber: termination,
    coreDumped: (status & 0x80) !== 0,
  };
}
