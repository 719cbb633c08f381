import { rename, rm } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { cacheFolder } from './cache.ts';
import { type CacheEntry, listCache, listImages } from './list.ts';
import { heldSinceMs } from './use.ts';

export interface PruneOptions {
  /** Default: `cacheFolder()`. */
  cache?: string;
  /** Remove everything. */
  all?: boolean;
  /** Keep so many images and so many kernels, those last used, whatever their age. */
  keep?: number;
  /** Only say what would be removed. */
  dryRun?: boolean;
}

export interface PruneResult {
  readonly removed: readonly CacheEntry[];
  readonly freedBytes: number;
  /** To be removed, and left since a running process uses them. */
  readonly inUse: readonly CacheEntry[];
}

/** Finished images are 150 MB each, and every change of the agent makes a new one. */
const keptImages = 6;

const unusedAfterMs = 30 * 24 * 60 * 60 * 1000;

/**
 * Removes what was not used for 30 days; with `keep`, of images and kernels all but those last used. Safe beside
 * running builds: each thing goes in one step, and what a build has used since it began stays.
 */
export async function pruneCache(options: PruneOptions = {}): Promise<PruneResult> {
  const cache = resolve(options.cache ?? cacheFolder());
  // First, so that who comes later finds everything as it is listed, or fetches it again.
  const heldSince = await heldSinceMs(cache);
  const unwanted = selectUnwanted(await listCache(cache), options);
  const inUse = unwanted.filter((entry) => entry.kind !== 'leftover' && entry.usedMs >= heldSince);
  const removed: CacheEntry[] = [];
  for (const entry of unwanted) {
    if (inUse.includes(entry)) continue;
    if (options.dryRun || (await remove(entry.path))) removed.push(entry);
  }
  const freedBytes = removed.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  return { removed, freedBytes, inUse };
}

/** Removes the images that were not used for longest, but those that a running process uses. */
export async function trimImages(cache: string): Promise<void> {
  const heldSince = await heldSinceMs(cache);
  const images = (await listImages(cache)).filter(({ kind }) => kind === 'image');
  for (const { path, usedMs } of images.slice(keptImages)) {
    if (usedMs < heldSince) await remove(path);
  }
}

/** @param entries of each kind the last used first */
export function selectUnwanted(
  entries: readonly CacheEntry[],
  { all = false, keep }: Pick<PruneOptions, 'all' | 'keep'>,
): CacheEntry[] {
  const oldestMs = Date.now() - unusedAfterMs;
  const seen = { image: 0, kernel: 0 };
  return entries.filter((entry) => {
    if (all || entry.kind === 'leftover') return true;
    if (keep === undefined || entry.kind === 'package') return entry.usedMs < oldestMs;
    return ++seen[entry.kind] > keep;
  });
}

/** Out of the way in one step: nobody finds half of it under its name. */
async function remove(path: string): Promise<boolean> {
  const away = join(dirname(path), `.pruned-${process.pid}-${removals++}`);
  try {
    await rename(path, away);
  } catch (error) {
    // Another one was faster.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
  await rm(away, { recursive: true, force: true });
  return true;
}

let removals = 0;
