import { constants } from 'node:fs';
import { copyFile, mkdir, readdir, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { Apt } from './apt.ts';
import { rootDiskSerial } from './boot-protocol.ts';
import { atomicFolder, cacheFolder, touchAndTrim } from './cache.ts';
import { describeImage } from './describe.ts';
import { makeErofs } from './erofs.ts';
import { ImageError } from './errors.ts';
import { makeInitrd } from './initrd.ts';
import { describeInputs, type ImageInputs } from './inputs.ts';
import { readKernel } from './kernel/kernel.ts';
import type { UnpackedPackage } from './libraries.ts';
import { type Image, loadImage } from './load.ts';
import { type Lock, readLock, writeLock } from './lock.ts';
import { imageFileNames, type Manifest, manifestFileName } from './manifest.ts';
import { checkNodePin, findNode, stripNode } from './node-package.ts';
import { fetchPinned, type PinnedInputs, pinMissing, selectPinned } from './packages.ts';
import { type Progress, silentProgress } from './progress.ts';
import { type Recipe, readRecipe } from './recipe.ts';
import { fillRoot, packageFolder } from './rootfs.ts';
import { run } from './run.ts';

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
  const recipe = await readRecipe(options.recipe);
  const lockPath = options.lock ?? join(dirname(resolve(options.recipe)), 'images.lock.json');
  const lock = await readLock(lockPath);
  const apt = new Apt(cache, progress, signal);
  const node = await progress.step('check Node', () =>
    findNode(recipe.node.package, resolve(options.recipe), signal),
  );

  const pinOptions = { updateMissing: options.updateMissing ?? false, progress };
  let changed = checkNodePin(node, lock, pinOptions.updateMissing, progress);
  changed = (await pinMissing(recipe, lock, apt, pinOptions)) || changed;
  if (changed) await writeLock(lockPath, lock);
  const describe = () => describeInputs(recipe, pinnedOf(recipe, lock), node, resolve(options.agent), signal);

  let inputs = await describe();
  if (options.useCache !== false) {
    const cached = await loadCached(cache, inputs, signal);
    if (cached) {
      await progress.step(`take ${recipe.name} from the cache (same inputs)`, async () => {
        await atomicFolder(output, (folder) => copyImage(cached.folder, folder));
        await touchAndTrim(dirname(cached.folder), cached.folder);
      });
      return { image: await loadImage(output), cached: true };
    }
  }

  const archives = await progress.step('fetch packages', () =>
    fetchAll(recipe, lock, lockPath, apt, pinOptions),
  );
  inputs = await describe();
  await atomicFolder(output, (folder, scratch) =>
    makeImage(folder, scratch, inputs, archives, progress, signal),
  );
  if (options.useCache !== false) {
    await progress.step('keep the image in the cache', async () => {
      const kept = cachedPath(cache, inputs);
      await atomicFolder(kept, (folder) => copyImage(output, folder));
      await touchAndTrim(dirname(kept), kept);
    });
  }
  return { image: await loadImage(output), cached: false };
}

/** Package name to .deb. A pin that is gone is replaced in the lock, which may bring in new packages. */
async function fetchAll(
  recipe: Recipe,
  lock: Lock,
  lockPath: string,
  apt: Apt,
  options: { updateMissing: boolean; progress: Progress },
): Promise<Map<string, string>> {
  for (;;) {
    const { kernel, packages } = pinnedOf(recipe, lock);
    const fetched = await fetchPinned([kernel, ...packages], lock, apt, options);
    if ('archives' in fetched) return fetched.archives;
    for (const [name, pin] of fetched.replaced) lock.debian[name] = pin;
    await pinMissing(recipe, lock, apt, options);
    await writeLock(lockPath, lock);
  }
}

async function makeImage(
  folder: string,
  scratch: string,
  inputs: ImageInputs,
  archives: ReadonlyMap<string, string>,
  progress: Progress,
  signal?: AbortSignal,
): Promise<void> {
  const { recipe, pinned, node } = inputs;
  const unpack = async (name: string): Promise<UnpackedPackage> => {
    const target = join(scratch, 'packages', name);
    await mkdir(target, { recursive: true });
    await run('dpkg-deb', ['-x', archives.get(name) ?? '', target], { signal, debianPackage: 'dpkg' });
    return { name, folder: target };
  };
  const { kernelPackage, packages } = await progress.step('unpack packages', async () => ({
    kernelPackage: await unpack(pinned.kernel.name),
    packages: await Promise.all(pinned.packages.map((one) => unpack(one.name))),
  }));
  const kernel = await readKernel(kernelPackage.folder, recipe);
  await copyFile(kernel.imagePath, join(folder, 'vmlinuz'));
  await progress.step(`make initrd.img (${kernel.modules.length} modules)`, async () => {
    const busybox = join(packageFolder(packages, 'busybox-static'), 'bin/busybox');
    await writeFile(join(folder, 'initrd.img'), await makeInitrd(kernel, busybox, recipe.node.flags));
  });
  const tree = join(scratch, 'root');
  const entries = await progress.step('put the root filesystem together', async () => {
    const stripped = join(scratch, 'node');
    await stripNode(node, stripped, signal);
    const nodePackage = node.packageName;
    return fillRoot(tree, {
      recipe,
      node: stripped,
      nodePackage,
      agent: inputs.agentFolder,
      packages,
      signal,
    });
  });
  await progress.step('make rootfs.erofs', () => makeErofs(tree, join(folder, 'rootfs.erofs'), signal));
  const root: Manifest['root'] = {
    file: 'rootfs.erofs',
    filesystem: 'erofs',
    compression: 'none',
    diskSerial: rootDiskSerial,
    verity: null,
  };
  await describeImage(folder, { inputs, kernel, root, tree, entries, signal });
  signal?.throwIfAborted();
}

function pinnedOf(recipe: Recipe, lock: Lock): PinnedInputs {
  const pinned = selectPinned(recipe, lock);
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
  try {
    return await loadImage(cachedPath(cache, inputs), { checkDigests: true, signal });
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
