/** What the cache holds of the image builder's. */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { kernelRecordName } from '../kernel/build.ts';
import { manifestFileName } from '../manifest.ts';
import { run } from '../run.ts';
import { cacheFolder, isAlive } from './cache.ts';

export interface CacheEntry {
  /** leftover: what a process that was killed left. */
  readonly kind: 'package' | 'image' | 'kernel' | 'leftover';
  /** For people: `crun 1.8.1-1`, the name of an image, else that of the file. */
  readonly name: string;
  readonly path: string;
  readonly sizeBytes: number;
  /** When it was last used, in milliseconds since 1970. */
  readonly usedMs: number;
}

interface Place {
  readonly kind: Exclude<CacheEntry['kind'], 'leftover'>;
  readonly folder: string;
  readonly pattern: RegExp;
  nameOf(path: string): Promise<string>;
}

const places: readonly Place[] = [
  { kind: 'image', folder: 'images', pattern: /^[0-9a-f]{64}$/, nameOf: imageName },
  { kind: 'kernel', folder: 'kernels', pattern: /^[0-9a-f]{64}$/, nameOf: kernelName },
  { kind: 'package', folder: 'packages', pattern: /^[0-9a-f]{64}\.deb$/, nameOf: packageName },
];

const abandonedAfterMs = 24 * 60 * 60 * 1000;

/** @returns the last used first, images before kernels before packages before leftovers. */
export function listCache(cache: string = cacheFolder()): Promise<CacheEntry[]> {
  return list(cache, places);
}

/** Of these alone, which is quick: packages are asked for their names. */
export function listImages(cache: string = cacheFolder()): Promise<CacheEntry[]> {
  return list(
    cache,
    places.filter(({ kind }) => kind === 'image'),
  );
}

async function list(cache: string, wanted: readonly Place[]): Promise<CacheEntry[]> {
  const entries: CacheEntry[] = [];
  const leftovers: CacheEntry[] = [];
  for (const place of wanted) {
    const folder = join(resolve(cache), place.folder);
    const own: CacheEntry[] = [];
    for (const file of await readdir(folder).catch(() => [])) {
      const path = join(folder, file);
      const stats = await stat(path).catch(() => undefined);
      if (!stats) continue;
      const common = { path, sizeBytes: await sizeOf(path), usedMs: stats.mtimeMs };
      if (place.pattern.test(file)) {
        const name = (await place.nameOf(path)) || file.slice(0, 12);
        own.push({ kind: place.kind, name, ...common });
      } else if (isLeftover(file, stats.mtimeMs)) {
        leftovers.push({ kind: 'leftover', name: file, ...common });
      }
    }
    entries.push(...own.sort((a, b) => b.usedMs - a.usedMs));
  }
  return [...entries, ...leftovers];
}

/** Names that atomicFolder, Apt and `prune` use while they work. */
function isLeftover(file: string, usedMs: number): boolean {
  const pid = /\.(?:building|pruned)-(\d+)/.exec(file)?.[1];
  if (pid !== undefined) return !isAlive(Number(pid));
  return file.startsWith('.fetch-') && usedMs < Date.now() - abandonedAfterMs;
}

async function sizeOf(path: string): Promise<number> {
  const stats = await stat(path).catch(() => undefined);
  if (!stats?.isDirectory()) return stats?.size ?? 0;
  const sizes = await Promise.all((await readdir(path)).map((name) => sizeOf(join(path, name))));
  return sizes.reduce((sum, size) => sum + size, 0);
}

function imageName(path: string): Promise<string> {
  return textIn(join(path, manifestFileName), 'name');
}

function kernelName(path: string): Promise<string> {
  return textIn(join(path, kernelRecordName), 'release');
}

/** '' where the file has no such key: it is only to be shown. */
async function textIn(path: string, key: string): Promise<string> {
  try {
    const value: unknown = JSON.parse(await readFile(path, 'utf8'))[key];
    return typeof value === 'string' ? value : '';
  } catch {
    return '';
  }
}

async function packageName(path: string): Promise<string> {
  const fields = ['--field', path, 'Package', 'Version'];
  const printed = await run('dpkg-deb', fields, { debianPackage: 'dpkg' }).catch(() => '');
  return printed
    .replaceAll(/^\w+: /gm, '')
    .trim()
    .replace('\n', ' ');
}
