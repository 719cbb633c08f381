/** The processes of this host that stand for those of a container: its own shim and those of its execs. */
import { readdirSync, readFileSync } from 'node:fs';

/** In the environment of each shim: the state folder of its container. */
export const containerVariable = 'CORACLE_CONTAINER';

/** Pids, the oldest first. @param container its state folder */
export function shimsOf(container: string): number[] {
  const wanted = `${containerVariable}=${container}`;
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => read(pid, 'comm') === 'coracle-shim\n')
    .filter((pid) => read(pid, 'environ').split('\0').includes(wanted))
    .map(Number)
    .sort((a, b) => a - b);
}

function read(pid: string, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, 'utf8');
  } catch {
    // It has just ended, or is another user's.
    return '';
  }
}
