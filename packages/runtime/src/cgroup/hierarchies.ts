/** The cgroup hierarchies of this host (cgroups(7)): those of version 1, or the one of version 2. */
import { readFileSync } from 'node:fs';

export interface Hierarchy {
  readonly version: 1 | 2;
  /** Where it is mounted. */
  readonly mountPoint: string;
  /** Of version 1: `cpu`, `memory`… or `name=systemd`. Of version 2 the cgroup itself says. */
  readonly controllers: readonly string[];
}

/** Empty on a host without cgroups. */
export function hostHierarchies(
  mountinfo: string = readFileSync('/proc/self/mountinfo', 'utf8'),
): readonly Hierarchy[] {
  const found = mountinfo.split('\n').flatMap((line): Hierarchy[] => {
    // proc(5): fields, " - ", type, source, options of the file system.
    const [mount = '', fileSystem = ''] = line.split(' - ');
    const mountPoint = mount.split(' ')[4] ?? '';
    const [type, , options = ''] = fileSystem.split(' ');
    if (type === 'cgroup2') return [{ version: 2, mountPoint, controllers: [] }];
    if (type !== 'cgroup') return [];
    const controllers = options.split(',').filter((word) => !flags.has(word));
    return [{ version: 1, mountPoint, controllers }];
  });
  // A mount of version 2 beside those of version 1 has no controllers to speak of; runc leaves it alone, too.
  const first = found.filter(({ version }) => version === 1);
  return unique(first.length > 0 ? first : found.slice(0, 1));
}

const flags = new Set(['rw', 'ro', 'xattr', 'clone_children', 'noprefix', 'nsdelegate']);

/** One hierarchy may be mounted more than once, such as by a container that was given it. */
function unique(hierarchies: readonly Hierarchy[]): Hierarchy[] {
  const byControllers = new Map<string, Hierarchy>();
  for (const hierarchy of hierarchies) {
    const key = hierarchy.controllers.join(',');
    if (!byControllers.has(key)) byControllers.set(key, hierarchy);
  }
  return [...byControllers.values()];
}
