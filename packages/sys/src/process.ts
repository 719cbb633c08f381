/** Processes and the machine: prctl(2), pidfd_open(2), kill(2), prlimit(2), reboot(2). */
import { constants } from 'node:os';
import { SysError } from './error.ts';
import { close } from './fd.ts';
import { check, lastErrno, libc } from './libc.ts';
import { POLLIN, pollNow, Watch } from './poll.ts';
import { parseSignal } from './signals.ts';

const cPrctl = libc('int prctl(int option, ulong a, ulong b, ulong c, ulong d)');
const cSyscall2 = libc('long syscall(long number, long a, long b)');
const cSetScheduler = libc('int sched_setscheduler(int pid, int policy, const void *parameters)');
const cKill = libc('int kill(int pid, int signal)');
const cSethostname = libc('int sethostname(const void *name, size_t length)');
const cReboot = libc('int reboot(int command)');
const cSync = libc('void sync()');
const cPrlimit = libc('int prlimit(int pid, int resource, const void *wanted, void *previous)');

/** linux/prctl.h */
const PR_SET_PDEATHSIG = 1;
const PR_SET_DUMPABLE = 4;
const PR_SET_CHILD_SUBREAPER = 36;
/** asm/unistd_64.h; glibc has a wrapper only since 2.36. */
const SYS_pidfd_open = 434;

/** Orphans among our descendants become our children instead of pid 1's. */
export function setChildSubreaper(on: boolean): void {
  check(cPrctl(PR_SET_CHILD_SUBREAPER, on ? 1 : 0, 0, 0, 0), 'prctl PR_SET_CHILD_SUBREAPER', 'this process');
}

/**
 * Has the kernel send this process a signal when the thread that started it ends; 0 clears it. A parent that
 * died before the call sends nothing: compare process.ppid afterwards.
 */
export function setParentDeathSignal(signal: string | 0): void {
  const number = signal === 0 ? 0 : parseSignal(signal);
  check(cPrctl(PR_SET_PDEATHSIG, number, 0, 0, 0), 'prctl PR_SET_PDEATHSIG', 'this process');
}

/** Off: no core dumps, and no access to our memory and descriptors for others of the same user. */
export function setDumpable(on: boolean): void {
  check(cPrctl(PR_SET_DUMPABLE, on ? 1 : 0, 0, 0, 0), 'prctl PR_SET_DUMPABLE', 'this process');
}

/**
 * A descriptor that stands for the process, even after its number is given to another.
 * @throws SysError 'ESRCH' if there is no such process
 */
export function pidfdOpen(pid: number): number {
  return check(Number(cSyscall2(SYS_pidfd_open, pid, 0)), 'pidfd_open', `process ${pid}`);
}

/** Whether the process of a pidfd has not ended yet (a zombie has ended). */
export function pidfdAlive(pidfd: number): boolean {
  return (pollNow(pidfd, POLLIN) & POLLIN) === 0;
}

/**
 * Resolves when any process (not only a child) has ended, at once if there is none of this pid.
 * Costs a descriptor while it waits and no thread. Does not reap.
 */
export async function waitForExit(pid: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  let pidfd: number;
  try {
    pidfd = pidfdOpen(pid);
  } catch (error) {
    if ((error as SysError).code === 'ESRCH') return;
    throw error;
  }
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(signal?.reason);
  signal?.addEventListener('abort', onAbort);
  let watch: Watch | undefined;
  try {
    watch = new Watch(pidfd, { readable: true }, () => resolve());
    await promise;
  } finally {
    signal?.removeEventListener('abort', onAbort);
    watch?.close();
    close(pidfd);
  }
}

/**
 * Sends a signal to one process; false if there is none (any more). Unlike process.kill it takes real-time
 * signals and refuses 0 and negative pids.
 */
export function kill(pid: number, signal: string | number): boolean {
  return send(pid, pid, signal, `process ${pid}`);
}

/** Sends a signal to every process of a group; false if it has none. */
export function killGroup(group: number, signal: string | number): boolean {
  return send(group, -group, signal, `process group ${group}`);
}

function send(id: number, target: number, signal: string | number, subject: string): boolean {
  // kill(2) gives -1 and 0 and -pid other meanings, and -1 is "everything that may be signalled".
  if (!Number.isInteger(id) || id < 1 || target === -1)
    throw new SysError(constants.errno.EINVAL, 'kill', subject);
  if (cKill(target, parseSignal(signal)) === 0) return true;
  const errno = lastErrno();
  if (errno === constants.errno.ESRCH) return false;
  throw new SysError(errno, `kill with ${signal}`, subject);
}

/** linux/sched.h */
const SCHED_FIFO = 1;
const SCHED_RESET_ON_FORK = 0x40000000;

/**
 * Lets a process run before all ordinary ones whenever it has something to do (sched(7)); what it starts from now
 * on is ordinary again. Only for what ends soon.
 * @returns false when that is not allowed (CAP_SYS_NICE, or a cgroup without real-time bandwidth), or it has ended
 */
export function runAheadOfChildren(pid: number): boolean {
  // struct sched_param { int priority }, the lowest of SCHED_FIFO.
  const parameters = Buffer.alloc(4);
  parameters.writeInt32LE(1, 0);
  return cSetScheduler(pid, SCHED_FIFO | SCHED_RESET_ON_FORK, parameters) === 0;
}

/** Sets the host name of our UTS namespace (at most 64 bytes). */
export function setHostname(name: string): void {
  const bytes = Buffer.from(name);
  check(cSethostname(bytes, bytes.length), 'sethostname', JSON.stringify(name));
}

/** linux/reboot.h */
const REBOOT_COMMANDS = { powerOff: 0x4321fedc, restart: 0x01234567 } as const;

/** Ends the machine at once, without syncing (call `sync` first). Needs CAP_SYS_BOOT. */
export function reboot(how: keyof typeof REBOOT_COMMANDS): void {
  check(cReboot(REBOOT_COMMANDS[how]), `reboot ${how}`, 'this machine');
}

/** Writes all dirty file data out; waits until it is done. */
export function sync(): void {
  cSync();
}

/** asm-generic/resource.h */
const RESOURCES = {
  cpu: 0,
  fsize: 1,
  data: 2,
  stack: 3,
  core: 4,
  rss: 5,
  nproc: 6,
  nofile: 7,
  memlock: 8,
  as: 9,
  locks: 10,
  sigpending: 11,
  msgqueue: 12,
  nice: 13,
  rtprio: 14,
  rttime: 15,
} as const;
const RLIM_INFINITY = 0xffffffffffffffffn;

export type Resource = keyof typeof RESOURCES;

export interface ResourceLimit {
  readonly soft: bigint | 'unlimited';
  readonly hard: bigint | 'unlimited';
}

const fromLimit = (value: bigint) => (value === RLIM_INFINITY ? 'unlimited' : value);
const toLimit = (value: bigint | 'unlimited') => (value === 'unlimited' ? RLIM_INFINITY : value);

/** The limits of a process (0: this one). struct rlimit64 is two 64-bit numbers, soft then hard. */
export function getResourceLimit(pid: number, resource: Resource): ResourceLimit {
  const limit = Buffer.alloc(16);
  check(cPrlimit(pid, RESOURCES[resource], null, limit), `prlimit ${resource}`, `process ${pid}`);
  return { soft: fromLimit(limit.readBigUInt64LE(0)), hard: fromLimit(limit.readBigUInt64LE(8)) };
}

/**
 * Sets the limits of a process (0: this one). Node raises its soft `nofile` to the hard one at its start, and
 * its children inherit that.
 */
export function setResourceLimit(pid: number, resource: Resource, wanted: ResourceLimit): void {
  const limit = Buffer.alloc(16);
  limit.writeBigUInt64LE(toLimit(wanted.soft), 0);
  limit.writeBigUInt64LE(toLimit(wanted.hard), 8);
  check(cPrlimit(pid, RESOURCES[resource], limit, null), `prlimit ${resource}`, `process ${pid}`);
}
