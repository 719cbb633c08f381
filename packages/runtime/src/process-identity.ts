/**
 * A process that outlives the command that started it is known by its pid and its start time: a pid is
 * used again some day, and then names somebody else's process.
 */
import { readFileSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat (proc(5)): clock ticks after boot. */
  readonly startTicks: number;
}

/** Undefined when there is no such process; a zombie has ended. */
export function identify(pid: number): ProcessIdentity | undefined {
  let text: string;
  try {
    text = readFileSync(`/proc/${pid}/stat`, 'latin1');
  } catch {
    return undefined;
  }
  // The command's name may hold spaces and brackets: the fields proper start after the last bracket.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const state = fields[0];
  return state === 'Z' || state === 'X' ? undefined : { pid, startTicks: Number(fields[19]) };
}

export function isAlive(identity: ProcessIdentity): boolean {
  return identify(identity.pid)?.startTicks === identity.startTicks;
}

/** Kills the process if it is still the one meant, and waits until it is gone. */
export async function killAndWait(identity: ProcessIdentity): Promise<void> {
  if (!isAlive(identity)) return;
  const { kill, waitForExit } = await import('@coracle/sys');
  kill(identity.pid, 'SIGKILL');
  await waitForExit(identity.pid);
}
