/** How builds and `prune` get on: what a running process has used since it began is left alone. */
import { rmSync } from 'node:fs';
import { mkdir, readdir, stat, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { isAlive } from './cache.ts';

const usersFolder = 'users';
const held = new Map<string, Promise<void>>();

/** Until this process ends, `prune` leaves alone whatever in the cache is used from now on. */
export function holdCache(cache: string): Promise<void> {
  const known = held.get(cache);
  if (known) return known;
  const hold = (async () => {
    const path = join(cache, usersFolder, String(process.pid));
    await mkdir(join(cache, usersFolder), { recursive: true });
    await heldSinceMs(cache);
    await writeFile(path, '');
    process.on('exit', () => rmSync(path, { force: true }));
    // From a cache that this user may not write to, it may not remove anything either.
  })().catch(() => {});
  held.set(cache, hold);
  return hold;
}

/** Writes down that something in the cache was used now. A cache that is only read from has no order of use. */
export async function noteUse(path: string): Promise<void> {
  const now = new Date();
  await utimes(path, now, now).catch(() => {});
}

/**
 * When the first of the other processes that hold the cache began; Infinity where there is none. What processes left
 * that were killed goes.
 */
export async function heldSinceMs(cache: string): Promise<number> {
  const folder = join(cache, usersFolder);
  let since = Number.POSITIVE_INFINITY;
  for (const name of await readdir(folder).catch(() => [])) {
    const pid = Number(name);
    if (pid === process.pid) continue;
    const path = join(folder, name);
    if (!Number.isInteger(pid) || !isAlive(pid)) rmSync(path, { force: true });
    else since = Math.min(since, (await stat(path).catch(() => undefined))?.mtimeMs ?? since);
  }
  return since;
}
