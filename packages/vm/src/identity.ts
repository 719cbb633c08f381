/**
 * A process that outlives the command that started it is known by its pid and its start time: pids are
 * used again, a pid with the same start time is not. As a second net, each process started for a VM
 * carries the VM's folder in its environment, so that one started just before its starter was killed,
 * and thus never written down, is still found.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { waitForExit } from '@coracle/sys';

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat (proc(5)): clock ticks after boot. */
  readonly startTicks: number;
}

/** The environment variable that names the VM's folder in each process started for it. */
export const ownerVariable = 'CORACLE_VM';

interface ProcStat {
  readonly state: string;
  readonly startTicks: number;
}

function readStat(pid: number): ProcStat | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The command name may hold spaces and brackets: the fields proper start after the last bracket.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  return { state: fields[0] ?? 'X', startTicks: Number(fields[19]) };
}

function threadsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/task`).length;
  } catch {
    return 0;
  }
}

/** Undefined when there is no such process (a zombie does not count: it can do nothing any more). */
export function identify(pid: number): ProcessIdentity | undefined {
  const stat = readStat(pid);
  if (stat === undefined || stat.state === 'X') return undefined;
  // The first thread of a killed QEMU may be a zombie while others still hold its sockets.
  if (stat.state === 'Z' && threadsOf(pid) <= 1) return undefined;
  return { pid, startTicks: stat.startTicks };
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startTicks === identity.startTicks;
}

/** Sends `signal` if the process is still the one meant; false when it is gone. */
export function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): boolean {
  if (!isAlive(identity)) return false;
  try {
    process.kill(identity.pid, signal);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false;
    throw error;
  }
}

/** True when the process is gone within the time given. */
export async function waitGone(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  if (!isAlive(identity)) return true;
  if (timeoutMs <= 0) return false;
  const deadline = new AbortController();
  const timer = setTimeout(() => deadline.abort(), timeoutMs);
  try {
    await waitForExit(identity.pid, deadline.signal);
    return true;
  } catch (error) {
    if (deadline.signal.aborted) return !isAlive(identity);
    throw error;
  } finally {
    clearTimeout(timer);
  }
}

/** SIGTERM, then SIGKILL after `graceMs`; with 0 SIGKILL at once. Returns when all are gone. */
export async function endProcesses(identities: readonly ProcessIdentity[], graceMs: number): Promise<void> {
  if (graceMs > 0) for (const identity of identities) signalProcess(identity, 'SIGTERM');
  const deadline = performance.now() + graceMs;
  for (const identity of identities) await waitGone(identity, Math.max(0, deadline - performance.now()));
  for (const identity of identities) signalProcess(identity, 'SIGKILL');
  for (const identity of identities) {
    // A process in uninterruptible sleep (a dead NFS server under a share) ignores even SIGKILL.
    if (!(await waitGone(identity, killedTimeoutMs))) {
      throw new Error(`process ${identity.pid} is still there ${killedTimeoutMs} ms after SIGKILL`);
    }
  }
}

/** A 2 GiB guest takes some 100 ms to be torn down; ten seconds is a host in trouble. */
const killedTimeoutMs = 10_000;

/** Every process whose environment says that it belongs to the VM in `directory`. */
export function findOwned(directory: string): ProcessIdentity[] {
  const wanted = `\0${ownerVariable}=${directory}\0`;
  const found: ProcessIdentity[] = [];
  for (const name of readdirSync('/proc')) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    let environment: string;
    try {
      environment = readFileSync(`/proc/${pid}/environ`, 'utf8');
    } catch {
      continue; // gone, or another user's
    }
    if (!`\0${environment}`.includes(wanted)) continue;
    const identity = identify(pid);
    if (identity !== undefined) found.push(identity);
  }
  return found;
}
