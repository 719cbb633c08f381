/** Moves all pins of a recipe to what the archive has now. */
import { existsSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { cacheFolder } from '../cache/cache.ts';
import { ImageError } from '../errors.ts';
import type { KernelOrigin } from '../kernel/kernel.ts';
import { type Progress, silentProgress } from '../progress.ts';
import { type Recipe, readRecipe, recipeFileName } from '../recipe/recipe.ts';
import { Apt } from './apt.ts';
import { type Lock, readLock, writeLock } from './lock.ts';
import { checkNodePin, findNode } from './node-package.ts';
import { pinMissing, selectPinned } from './packages.ts';

export interface RefreshOptions {
  /** Folder with image.toml. */
  recipe: string;
  /** Default: images.lock.json beside the recipe's folder. */
  lock?: string;
  /** Default: `cacheFolder()`. */
  cache?: string;
  progress?: Progress;
  signal?: AbortSignal;
}

export interface PinChange {
  readonly name: string;
  /** null: it was not pinned. */
  readonly from: string | null;
  /** null: nothing needs it any more. */
  readonly to: string | null;
}

/**
 * Writes the lock file where anything changed.
 * @returns what changed, sorted by name.
 * @throws ImageError `package-unavailable`; `digest-mismatch` where a version has another digest than is pinned.
 */
export async function refreshLock(
  options: RefreshOptions,
): Promise<{ lockPath: string; changes: PinChange[] }> {
  const { progress = silentProgress, signal } = options;
  const folder = resolve(options.recipe);
  const recipe = await readRecipe(folder);
  const lockPath = options.lock ?? join(dirname(folder), 'images.lock.json');
  const old = await readLock(lockPath);
  const apt = new Apt(resolve(options.cache ?? cacheFolder()), progress, signal);
  // The machine's own lists may be of any age.
  await apt.offers([recipe.kernel.package], () => false);

  const fresh: Lock = { format: 1, debian: {}, npm: {} };
  const pinOptions = { updateMissing: true, progress: { ...progress, notice: () => {} } };
  await progress.step('ask the archive for the current versions', async () => {
    for (const kernel of kernelsOf(recipe)) await pinMissing(recipe, fresh, apt, { ...pinOptions, kernel });
  });
  const node = await findNode(recipe.node.package, folder, signal);
  // Against the old pin first: the same version must still have the same digest.
  checkNodePin(node, structuredClone(old), true, pinOptions.progress);
  checkNodePin(node, fresh, true, pinOptions.progress);
  checkDigests(old, fresh);

  const merged: Lock = {
    format: 1,
    debian: { ...old.debian, ...fresh.debian },
    npm: { ...old.npm, ...fresh.npm },
  };
  for (const name of await unneeded(recipe, folder, old, merged)) {
    if (!Object.hasOwn(fresh.debian, name)) delete merged.debian[name];
  }
  const changes = [...changesOf(old.debian, merged.debian), ...changesOf(old.npm, merged.npm)];
  if (changes.length > 0) await writeLock(lockPath, merged);
  return { lockPath, changes };
}

function checkDigests(old: Lock, fresh: Lock): void {
  for (const [name, pin] of Object.entries(fresh.debian)) {
    const before = old.debian[name];
    if (!before || before.version !== pin.version || before.sha256 === pin.sha256) continue;
    throw new ImageError(
      'digest-mismatch',
      `${name} ${pin.version} in the archive has SHA-256 ${pin.sha256}, the lock file pins ${before.sha256}: one of them was changed; the lock file was left as it is`,
    );
  }
}

function changesOf(
  from: Readonly<Record<string, { version: string }>>,
  to: Readonly<Record<string, { version: string }>>,
): PinChange[] {
  return [...new Set([...Object.keys(from), ...Object.keys(to)])]
    .sort()
    .map((name) => ({ name, from: from[name]?.version ?? null, to: to[name]?.version ?? null }))
    .filter((change) => change.from !== change.to);
}

/** What the recipe used and no other recipe with the same lock file uses; nothing where that cannot be told. */
async function unneeded(recipe: Recipe, folder: string, old: Lock, merged: Lock): Promise<string[]> {
  const others: ReadonlySet<string>[] = [];
  for (const name of await readdir(dirname(folder))) {
    const other = join(dirname(folder), name);
    if (other === folder || !existsSync(join(other, recipeFileName))) continue;
    const used = await readRecipe(other).then(
      (read) => usedNames(read, merged),
      () => undefined,
    );
    if (!used) return [];
    others.push(used);
  }
  return [...(usedNames(recipe, old) ?? [])].filter((name) => !others.some((used) => used.has(name)));
}

/** Names in the lock that a recipe needs; undefined where some are not pinned, for those lead to others. */
function usedNames(recipe: Recipe, lock: Lock): Set<string> | undefined {
  const names = new Set([recipe.kernel.package]);
  for (const origin of kernelsOf(recipe)) {
    const selected = selectPinned(recipe, lock, origin);
    if ('unpinned' in selected) return undefined;
    for (const { name } of [selected.kernel, ...selected.packages]) names.add(name);
  }
  return names;
}

function kernelsOf({ kernel }: Recipe): KernelOrigin[] {
  return kernel.source === undefined ? ['prebuilt'] : ['prebuilt', 'built'];
}
