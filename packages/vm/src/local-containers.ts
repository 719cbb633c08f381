/**
 * Containers of the local driver are processes of the host, so an agent that was killed leaves them running.
 * crun's state below the agent's tells which they are; with a container's first process its pid namespace ends.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive, type ProcessIdentity } from './identity.ts';

/** The first processes of the containers that a local agent has left in `directory`. */
export function localContainers(directory: string): ProcessIdentity[] {
  const states = join(directory, 'agent', 'crun');
  const found: ProcessIdentity[] = [];
  for (const id of list(states)) {
    try {
      const status = JSON.parse(readFileSync(join(states, id, 'status'), 'utf8'));
      const identity = { pid: Number(status.pid), startTicks: Number(status['process-start-time']) };
      if (identity.pid > 1 && isAlive(identity)) found.push(identity);
    } catch {
      // Half written, or being removed: crun was killed before it had started anything.
    }
  }
  return found;
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
