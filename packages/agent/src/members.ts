/** Which processes a container has: by its cgroup in a guest, by its pid namespace in the local tier. */
import { readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { hasCode, kill } from '@coracle/sys';
import { oomKills } from './oom-watch.ts';

export interface Members {
  /** Pids as this process sees them. */
  pids(): number[];
  /** SIGKILL to all, those included that are being made. */
  killAll(): void;
  /** How many processes the kernel has killed for want of memory so far. */
  oomKills(): number;
}

/** cgroup v2 (Linux Documentation/admin-guide/cgroup-v2.rst). */
export class CgroupMembers implements Members {
  readonly #folder: string;

  /** @param folder of the cgroup */
  constructor(folder: string) {
    this.#folder = folder;
  }

  pids(): number[] {
    return pidsBelow(this.#folder);
  }

  killAll(): void {
    try {
      writeFileSync(join(this.#folder, 'cgroup.kill'), '1');
    } catch (error) {
      if (!isGone(error)) throw error;
    }
  }

  oomKills(): number {
    return oomKills(this.#folder);
  }
}

/** A container may have made cgroups of its own. */
function pidsBelow(folder: string): number[] {
  try {
    const pids = readFileSync(join(folder, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean).map(Number);
    for (const entry of readdirSync(folder, { withFileTypes: true })) {
      if (entry.isDirectory()) pids.push(...pidsBelow(join(folder, entry.name)));
    }
    return pids;
  } catch (error) {
    if (isGone(error)) return [];
    throw error;
  }
}

function isGone(error: unknown): boolean {
  return hasCode(error, 'ENOENT') || hasCode(error, 'ENODEV');
}

export class NamespaceMembers implements Members {
  readonly #init: number;
  readonly #namespace: string | undefined;
  readonly #known: () => number[];

  /**
   * @param init pid of the container's first process
   * @param known pids of its processes that the agent has started, all there is without a pid namespace
   */
  constructor(init: number, known: () => number[]) {
    this.#init = init;
    const namespace = namespaceOf(init);
    this.#namespace = namespace === namespaceOf('self') ? undefined : namespace;
    this.#known = known;
  }

  pids(): number[] {
    if (this.#namespace === undefined) return this.#known();
    // With its first process the whole namespace has ended, and its number is given to the next one: a container
    // that was removed after its end killed another that was just being made.
    if (namespaceOf(this.#init) !== this.#namespace) return [];
    const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
    return all.filter((pid) => namespaceOf(pid) === this.#namespace).map(Number);
  }

  killAll(): void {
    for (const pid of this.pids()) kill(pid, 9);
  }

  oomKills(): number {
    return 0;
  }
}

function namespaceOf(pid: number | string): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/ns/pid`);
  } catch {
    return undefined;
  }
}
