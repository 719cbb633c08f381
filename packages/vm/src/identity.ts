/**
 * The processes of a VM: known by pid and start time. As a second net, each process started for a VM carries
 * the VM's folder in its environment, so that one started just before its starter was killed, and thus never
 * written down, is still found.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { waitForExit } from '@coracle/sys';
import { identify, isAlive, type ProcessIdentity } from '@coracle/sys/identity';

export { identify, isAlive, type ProcessIdentity };

/** The environment variable that names the VM's folder in each process started for it. */
export const ownerVariable = 'CORACLE_VM';

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
