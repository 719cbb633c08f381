import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Each process writes itself ("0", cgroups(7)) into the cgroup of each hierarchy before it becomes the program. */
const script = [
  'n=$1; shift',
  'while [ "$n" -gt 0 ]; do echo 0 > "$1/cgroup.procs" || exit 126; shift; n=$((n-1)); done',
  'exec "$@"',
].join('\n');

/**
 * The command line that starts a program inside cgroups of the host: what it allocates is counted there from the first
 * byte, and what it starts is in them, too.
 * @param folders of the cgroups, one for each hierarchy
 */
export function insideCgroups(folders: readonly string[], command: readonly string[]): readonly string[] {
  if (folders.length === 0) return command;
  return ['/bin/sh', '-c', script, 'sh', String(folders.length), ...folders, ...command];
}

/** Moves a process that runs already, such as a QEMU that has waited in a pool; what it allocated stays where it was. */
export function joinCgroups(pid: number, folders: readonly string[]): void {
  for (const folder of folders) writeFileSync(join(folder, 'cgroup.procs'), String(pid));
}
