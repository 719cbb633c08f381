/** What a recipe takes from an unpacked package: a file, a folder or everything. */
import { lstat, readdir, readlink } from 'node:fs/promises';
import { basename, join, posix } from 'node:path';
import { listFiles } from '../digest.ts';
import { kindOf, SourceMistake } from '../recipe/source.ts';
import { isInside, linkTarget, mergedPath } from './paths.ts';
import { resolveInRoot } from './resolve.ts';

export type PackageEntry =
  | { kind: 'file'; path: string; source: string; mode: 0o644 | 0o755 }
  | { kind: 'link'; path: string; target: string }
  | { kind: 'directory'; path: string };

/** What nobody reads in a guest. */
const documentation = ['doc', 'info', 'lintian', 'locale', 'man'].map((name) => `usr/share/${name}`);

/**
 * @param wanted a file; or a folder, when it ends with /
 * @throws SourceMistake when the package does not hold it, or holds something that no image may have
 */
export async function packageFiles(folder: string, wanted: string): Promise<PackageEntry[]> {
  if (wanted.endsWith('/')) return await folderEntries(folder, wanted.slice(0, -1));
  const home = await resolveInRoot(folder, posix.dirname(wanted));
  const source = home === undefined ? undefined : join(folder, home, basename(wanted));
  const stats = source && (await lstat(source).catch(() => undefined));
  if (!source || !stats) throw await missing(folder, wanted);
  if (stats.isDirectory())
    throw new SourceMistake(`${wanted} is a folder; write ${wanted}/ for all that is in it`);
  const entry = await entryOf(source, wanted);
  if (entry.kind !== 'link') return [entry];
  // A program is often a link to another one of its package, which the recipe means as well.
  const target = await resolveInRoot(folder, wanted);
  if (target === undefined || target === wanted) return [entry];
  const isFolder = (await lstat(join(folder, target))).isDirectory();
  return [entry, ...(isFolder ? [] : [await entryOf(join(folder, target), target)])];
}

/** All files of a package, but documentation. */
export async function allPackageFiles(folder: string): Promise<PackageEntry[]> {
  return (await folderEntries(folder, '')).filter(
    ({ path }) => !documentation.some((one) => isInside(path, one)),
  );
}

/** In the order of their paths, a folder before what is in it. */
async function folderEntries(root: string, wanted: string): Promise<PackageEntry[]> {
  const stats = await lstat(join(root, wanted)).catch(() => undefined);
  if (!stats) throw await missing(root, wanted);
  if (!stats.isDirectory())
    throw new SourceMistake(`${wanted}/ is a ${kindOf(stats)} in the package, not a folder`);
  const entries: PackageEntry[] = [];
  const walk = async (path: string): Promise<void> => {
    if (path !== '') entries.push({ kind: 'directory', path });
    for (const entry of (await readdir(join(root, path), { withFileTypes: true })).sort(byName)) {
      const below = path === '' ? entry.name : `${path}/${entry.name}`;
      if (entry.isDirectory()) await walk(below);
      else entries.push(await entryOf(join(root, below), below));
    }
  };
  await walk(wanted);
  return entries;
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}

async function entryOf(source: string, path: string): Promise<PackageEntry> {
  const stats = await lstat(source);
  if (stats.isFile()) return { kind: 'file', path, source, mode: stats.mode & 0o100 ? 0o755 : 0o644 };
  const kind = kindOf(stats);
  if (kind !== 'link') throw new SourceMistake(`${path} is a ${kind}: an image may not have one`);
  const target = await readlink(source);
  if (linkTarget(mergedPath(path), target) === undefined)
    throw new SourceMistake(`${path} is a link to ${target}, which points out of the root`);
  return { kind: 'link', path, target };
}

/** With what the recipe probably meant: before the merge into /usr programs lay in other folders. */
async function missing(folder: string, wanted: string): Promise<SourceMistake> {
  const similar = (await listFiles(folder)).filter((path) => basename(path) === basename(wanted)).slice(0, 3);
  const hint = similar.length > 0 ? ` (it has ${similar.join(', ')})` : '';
  return new SourceMistake(`the package has no ${wanted}${hint}`);
}
