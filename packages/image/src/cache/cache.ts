import { mkdir, readdir, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** The folder for what can be made or fetched again; the same for all of Coracle's programs. */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const { CORACLE_CACHE: own, XDG_CACHE_HOME: user, HOME: home } = environment;
  if (own) return own;
  if (user) return join(user, 'coracle');
  // Engines call us with an empty environment.
  return home ? join(home, '.cache', 'coracle') : '/var/cache/coracle';
}

/**
 * Makes a folder under a final name in one step: `fill` works in a neighbour of it, which is renamed when it is
 * complete and removed however else this ends. What is there under the name already is replaced.
 */
export async function atomicFolder(
  target: string,
  fill: (folder: string, scratch: string) => Promise<void>,
): Promise<void> {
  await mkdir(dirname(target), { recursive: true });
  const work = `${target}.building-${process.pid}`;
  await removeStale(target);
  const finished = join(work, 'finished');
  const scratch = join(work, 'scratch');
  try {
    await mkdir(finished, { recursive: true });
    await mkdir(scratch);
    await fill(finished, scratch);
    // A folder cannot be renamed over a full one; whoever has the old files open keeps them.
    await rename(target, join(work, 'replaced')).catch(ignoreMissing);
    await rename(finished, target);
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Removes what a build that was killed (`kill -9`, power loss) left beside `target`. */
async function removeStale(target: string): Promise<void> {
  const parent = dirname(target);
  const prefix = `${target.slice(parent.length).replace(/^\//, '')}.building-`;
  for (const name of await readdir(parent)) {
    if (!name.startsWith(prefix)) continue;
    const pid = Number(name.slice(prefix.length));
    if (pid !== process.pid && Number.isInteger(pid) && isAlive(pid)) continue;
    await rm(join(parent, name), { recursive: true, force: true });
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error;
}
