/** From the packages that a recipe names to the pinned set that holds all it needs. */
import type { Apt, PackageOffer } from './apt.ts';
import { ImageError } from './errors.ts';
import type { DebianPin, Lock } from './lock.ts';
import type { Progress } from './progress.ts';
import type { Recipe } from './recipe.ts';

export interface PinnedPackage extends DebianPin {
  name: string;
}

export interface PinnedInputs {
  kernel: PinnedPackage;
  /** The recipe's packages and all they depend on, sorted by name. */
  packages: PinnedPackage[];
}

/**
 * The part of the lock that a recipe uses.
 * @returns undefined for what is not pinned yet: the first name that the lock does not have.
 */
export function selectPinned(recipe: Recipe, lock: Lock): PinnedInputs | { unpinned: string } {
  const pin = (name: string): PinnedPackage | undefined => {
    const found = lock.debian[name];
    return found && { name, ...found };
  };
  const named = pin(recipe.kernel.package);
  if (!named) return { unpinned: recipe.kernel.package };
  const kernelName = concreteKernel(named);
  const kernel = pin(kernelName);
  if (!kernel) return { unpinned: kernelName };

  const selected = new Map<string, PinnedPackage>();
  const queue = recipe.packages.map((one) => one.name);
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (selected.has(name)) continue;
    const found = pin(name);
    if (!found) return { unpinned: name };
    selected.set(name, found);
    queue.push(...found.depends);
  }
  return { kernel, packages: [...selected.values()].sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

/** A meta package such as linux-image-cloud-amd64 depends on the kernel of the day; a kernel on no other kernel. */
function concreteKernel(named: PinnedPackage): string {
  return named.depends.find((name) => /^linux-image-\d/.test(name)) ?? named.name;
}

export interface PinOptions {
  /** Take the archive's current version of whatever is not pinned or no longer published. */
  updateMissing: boolean;
  progress: Progress;
}

/** Completes `lock` in place until it covers the recipe. Returns whether it was changed. */
export async function pinMissing(
  recipe: Recipe,
  lock: Lock,
  apt: Apt,
  options: PinOptions,
): Promise<boolean> {
  let changed = false;
  for (let state = selectPinned(recipe, lock); 'unpinned' in state; state = selectPinned(recipe, lock)) {
    const name = state.unpinned;
    if (!options.updateMissing) {
      throw new ImageError(
        'package-unpinned',
        `the package ${name} is not in the lock file; run the build with --update-missing to pin its current version`,
      );
    }
    lock.debian[name] = pinOf(await currentOffer(name, apt));
    options.progress.notice(`PINNED ${name} ${lock.debian[name].version} (it was not in the lock file)`);
    changed = true;
  }
  return changed;
}

/**
 * Brings a pinned package into the cache.
 * @returns its .deb, or a new pin that the caller must put into the lock (only with `updateMissing`).
 */
export async function fetchPinned(
  pinned: PinnedPackage,
  apt: Apt,
  options: PinOptions,
): Promise<{ path: string } | { replaced: DebianPin }> {
  const { name, ...pin } = pinned;
  const cached = await apt.cached(pin);
  if (cached) return { path: cached };
  const offers = await apt.offers(name, pin.version);
  const same = offers.find((one) => one.version === pin.version);
  if (same && same.sha256 === pin.sha256) return { path: await apt.fetch(name, pin) };
  if (same) {
    throw new ImageError(
      'digest-mismatch',
      `${name} ${pin.version} in the archive has SHA-256 ${same.sha256}, the lock file pins ${pin.sha256}: one of them was tampered with or the lock file is wrong`,
    );
  }
  const current = offers[0];
  if (!options.updateMissing || !current) {
    const offered = current ? `it now has ${current.version}` : 'it has no version of it now';
    throw new ImageError(
      'package-unavailable',
      `${name} ${pin.version}, which the lock file pins, is no longer in the Debian archive (${offered}); run the build with --update-missing to take the current version and update the lock file`,
    );
  }
  options.progress.notice(`UPDATED ${name} from ${pin.version} to ${current.version} (the old one is gone)`);
  return { replaced: pinOf(current) };
}

async function currentOffer(name: string, apt: Apt): Promise<PackageOffer> {
  const [current] = await apt.offers(name);
  if (current) return current;
  throw new ImageError('package-unavailable', `there is no package ${name} in the Debian archive`);
}

function pinOf({ name: _name, ...pin }: PackageOffer): DebianPin {
  return pin;
}
