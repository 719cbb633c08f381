/**
 * A process that outlives the command that started it is known by its pid and its start time: pids are used
 * again, a pid with the same start time is not. Reads /proc only: no foreign call, so it costs nothing to load.
 */
import { readdirSync, readFileSync } from 'node:fs';

export interface ProcessIdentity {
  readonly pid: number;
  /** Field 22 of /proc/PID/stat (proc(5)): clock ticks after boot. */
  readonly startTicks: number;
}

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
