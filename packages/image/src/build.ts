import { constants } from 'node:fs';
import { copyFile, readdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { atomicFolder, cacheFolder } from './cache/cache.ts';
import { trimImages } from './cache/prune.ts';
import { holdCache, noteUse } from './cache/use.ts';
import { ImageError } from './errors.ts';
import { describeInputs, type ImageInputs } from './inputs.ts';
import { buildKernel, findBuiltKernel } from './kernel/build.ts';
import { chooseKernel, type KernelChoice, ownKernelInputs } from './kernel/choose.ts';
import type { Kernel, KernelOrigin } from './kernel/kernel.ts';
import { type Image, loadImage } from './load.ts';
import { makeImage } from './make-image.ts';
import { imageFileNames, manifestFileName } from './manifest.ts';
import { Apt } from './pins/apt.ts';
import { type Lock, readLock, writeLock } from './pins/lock.ts';
import { checkNodePin, findNode } from './pins/node-package.ts';
import {
  fetchPinned,
  type PinnedInputs,
  type PinOptions,
  pinMissing,
  selectPinned,
} from './pins/packages.ts';
import { type Progress, silentProgress } from './progress.ts';
import { type Recipe, readRecipe } from './recipe/recipe.ts';

export interface BuildOptions {
  /** Folder with image.toml. */
  recipe: string;
  /** Folder to make; an image that is there already is replaced in one step. */
  output: string;
  /** Folder with the bundled agent.js and what lies beside it. */
  agent: string;
  /** Default: images.lock.json beside the recipe's folder. */
  lock?: string;
  /** Default: `cacheFolder()`. */
  cache?: string;
  /** false: neither take the image from the cache nor keep it there. Packages are cached all the same. */
  useCache?: boolean;
  /** Take the archive's current version of packages that are not pinned or are gone, and update the lock file. */
  updateMissing?: boolean;
  /** Which kernel. Default: `auto`. `built` compiles it where it was not compiled before: some minutes. */
  kernel?: KernelChoice;
  progress?: Progress;
  signal?: AbortSignal;
}

export interface BuildResult {
  image: Image;
  /** Whether it was taken from the cache. */
  cached: boolean;
}

/**
 * Builds a guest image without root and without loop devices. The output appears complete or not at all.
 * @throws ImageError; with code `interrupted` when `signal` was aborted.
 */
export async function buildImage(options: BuildOptions): Promise<BuildResult> {
  const { signal, progress = silentProgress } = options;
  const output = resolve(options.output);
  const cache = resolve(options.cache ?? cacheFolder());
  await refuseForeignOutput(output);
  await holdCache(cache);
  const recipe = await readRecipe(options.recipe);
  const lockPath = options.lock ?? join(dirname(resolve(options.recipe)), 'images.lock.json');
  const lock = await readLock(lockPath);
  const apt = new Apt(cache, progress, signal);
  const node = await progress.step('check Node', () =>
    findNode(recipe.node.package, resolve(options.recipe), signal),
  );
  const kernel = await chooseKernel(options.kernel ?? 'auto', recipe, lock, cache, progress, signal);

  const pinOptions: PinOptions = { updateMissing: options.updateMissing ?? false, kernel, progress };
  let changed = checkNodePin(node, lock, pinOptions.updateMissing, progress);
  changed = (await pinMissing(recipe, lock, apt, pinOptions)) || changed;
  if (changed) await writeLock(lockPath, lock);
  const describe = async () =>
    describeInputs(
      recipe,
      pinnedOf(recipe, lock, kernel),
      kernel === 'built' ? await ownKernelInputs(recipe, lock, signal) : undefined,
      node,
      resolve(options.agent),
      signal,
    );

  let inputs = await describe();
  if (options.useCache !== false) {
    const cached = await loadCached(cache, inputs, signal);
    if (cached) {
      await progress.step(`take ${recipe.name} from the cache (same inputs)`, async () => {
        await atomicFolder(output, (folder) => copyImage(cached.folder, folder));
      });
      return { image: await loadImage(output), cached: true };
    }
  }

  const built = inputs.kernel && (await findBuiltKernel(cache, inputs.kernel, signal));
  const archives = await progress.step('fetch packages', () =>
    fetchAll(recipe, lock, lockPath, apt, pinOptions, built !== undefined),
  );
  inputs = await describe();
  const ownKernel =
    inputs.kernel &&
    (built ??
      (await buildKernel(
        cache,
        inputs.kernel,
        archives.get(inputs.kernel.source.name) ?? '',
        progress,
        signal,
      )));
  await atomicFolder(output, (folder, scratch) =>
    makeImage({ folder, scratch, inputs, archives, kernel: ownKernel, progress, signal }),
  );
  if (options.useCache !== false) {
    await progress.step('keep the image in the cache', async () => {
      const kept = cachedPath(cache, inputs);
      await atomicFolder(kept, (folder) => copyImage(output, folder));
      await trimImages(cache);
    });
  }
  return { image: await loadImage(output), cached: false };
}

/**
 * Compiles a recipe's own kernel into the cache, unless it is there; images are made with it from then on.
 * @throws ImageError
 */
export async function buildOwnKernel(
  options: Pick<BuildOptions, 'recipe' | 'lock' | 'cache' | 'updateMissing' | 'progress' | 'signal'>,
): Promise<{ kernel: Kernel; cached: boolean }> {
  const { signal, progress = silentProgress } = options;
  const cache = resolve(options.cache ?? cacheFolder());
  await holdCache(cache);
  const recipe = await readRecipe(options.recipe);
  const lockPath = options.lock ?? join(dirname(resolve(options.recipe)), 'images.lock.json');
  const lock = await readLock(lockPath);
  const apt = new Apt(cache, progress, signal);
  const kernel = await chooseKernel('built', recipe, lock, cache, progress, signal);
  const pinOptions: PinOptions = { updateMissing: options.updateMissing ?? false, kernel, progress };
  if (await pinMissing(recipe, lock, apt, pinOptions)) await writeLock(lockPath, lock);
  const describe = async () => {
    const inputs = await ownKernelInputs(recipe, lock, signal);
    if (!inputs) throw new ImageError('package-unpinned', `not in the lock file: ${recipe.kernel.source}`);
    return inputs;
  };
  const found = await findBuiltKernel(cache, await describe(), signal);
  if (found) return { kernel: found, cached: true };
  const { archives, inputs } = await progress.step('fetch the source', async () => ({
    archives: await fetchAll(recipe, lock, lockPath, apt, pinOptions, false, 'kernel'),
    inputs: await describe(),
  }));
  const archive = archives.get(inputs.source.name) ?? '';
  return { kernel: await buildKernel(cache, inputs, archive, progress, signal), cached: false };
}

/** Package name to .deb. A pin that is gone is replaced in the lock, which may bring in new packages. */
async function fetchAll(
  recipe: Recipe,
  lock: Lock,
  lockPath: string,
  apt: Apt,
  options: PinOptions,
  hasKernel: boolean,
  only?: 'kernel',
): Promise<Map<string, string>> {
  for (;;) {
    const { kernel, packages } = pinnedOf(recipe, lock, options.kernel);
    const wanted = [...(hasKernel ? [] : [kernel]), ...(only ? [] : packages)];
    const fetched = await fetchPinned(wanted, lock, apt, options);
    if ('archives' in fetched) return fetched.archives;
    for (const [name, pin] of fetched.replaced) lock.debian[name] = pin;
    await pinMissing(recipe, lock, apt, options);
    await writeLock(lockPath, lock);
  }
}

function pinnedOf(recipe: Recipe, lock: Lock, kernel: KernelOrigin | undefined): PinnedInputs {
  const pinned = selectPinned(recipe, lock, kernel);
  if ('unpinned' in pinned)
    throw new ImageError('package-unpinned', `not in the lock file: ${pinned.unpinned.join(', ')}`);
  return pinned;
}

function cachedPath(cache: string, inputs: ImageInputs): string {
  return join(cache, 'images', inputs.cacheKey);
}

/** A cached image whose files were cut or changed counts as not there. */
async function loadCached(
  cache: string,
  inputs: ImageInputs,
  signal?: AbortSignal,
): Promise<Image | undefined> {
  const folder = cachedPath(cache, inputs);
  try {
    await noteUse(folder);
    return await loadImage(folder, { checkDigests: true, signal });
  } catch (error) {
    if (error instanceof ImageError && error.code === 'image-invalid') return undefined;
    throw error;
  }
}

async function copyImage(from: string, to: string): Promise<void> {
  for (const name of await readdir(from)) {
    await copyFile(join(from, name), join(to, name), constants.COPYFILE_FICLONE);
  }
}

/** Replacing a folder removes what was in it, so it must be one of ours. */
async function refuseForeignOutput(output: string): Promise<void> {
  const names = await readdir(output).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw new ImageError('output-refused', `the output ${output} cannot be used: ${error.message}`, {
      cause: error,
    });
  });
  const known: string[] = [...imageFileNames, manifestFileName];
  const foreign = names.find((name) => !known.includes(name));
  if (foreign === undefined) return;
  throw new ImageError(
    'output-refused',
    `the output folder ${output} holds ${basename(foreign)}, which is no part of an image; give an empty or new folder`,
  );
}
