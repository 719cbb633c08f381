/**
 * Taking a VM from a pool (pool.ts). In the pool's folder each VM has one of its own, whose name begins with a dot while
 * it is not ready. Whoever renames it into the folder of a sandbox has it: one process only can do that, and from then
 * on `stopVm` of the sandbox ends it, whatever happens to its new owner. Unix sockets are found under their new paths.
 */
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { vmPaths } from '../directory.ts';
import { isAlive } from '../identity.ts';
import { readRecord, type VmRecord } from '../record.ts';

/** Where it is in the sandbox's folder, until its files have been moved up. */
export const claimedFolder = (directory: string): string => join(directory, 'claimed');

/**
 * A VM that is ready, was started from this template and lives, with these shares or none; now it is the sandbox's.
 * Undefined if there is none.
 */
export function claim(
  pool: string,
  template: string,
  shares: readonly string[],
  directory: string,
): VmRecord | undefined {
  for (const name of readyIn(pool)) {
    const path = join(pool, name);
    try {
      const record = readRecord(path);
      if (record?.template !== template || record.main === undefined || !isAlive(record.main)) continue;
      if (record.shares.length > 0 && record.shares.join('/') !== shares.join('/')) continue;
      renameSync(path, claimedFolder(directory));
      return { ...record, startedIn: unreadyFolder(pool, name) };
    } catch (error) {
      // Another was quicker, or the pool has just ended.
      if (!existsSync(path)) continue;
      throw error;
    }
  }
  return undefined;
}

/** Where a VM is before it can be had, and when it is to be ended. */
export const unreadyFolder = (pool: string, name: string): string => join(pool, `.${name}`);

/** Names of the VMs that can be had. */
export function readyIn(pool: string): string[] {
  try {
    return readdirSync(pool).filter((name) => /^[0-9a-f]+$/.test(name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

/** Its files become the sandbox's own. A share's folder is mounted on in its virtiofsd's namespace, and goes on being so. */
export function unpackClaimed(directory: string, shares: readonly string[]): void {
  const claimed = claimedFolder(directory);
  const [from, to] = [vmPaths(claimed), vmPaths(directory)];
  for (const name of ['link', 'qmp', 'console', 'qemuLog', 'pidFile'] as const)
    renameSync(from[name], to[name]);
  for (const tag of shares)
    for (const name of ['share', 'fsSocket', 'fsLog'] as const) renameSync(from[name](tag), to[name](tag));
  rmSync(claimed, { recursive: true });
}
