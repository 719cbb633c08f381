/** From the packages that a recipe names to the pinned set that holds all it needs. */

import { ImageError } from '../errors.ts';
import type { KernelOrigin } from '../kernel/kernel.ts';
import type { Progress } from '../progress.ts';
import { placeOf, type Recipe } from '../recipe/recipe.ts';
import type { Apt, Offers, PackageOffer } from './apt.ts';
import type { DebianPin, Lock } from './lock.ts';

export interface PinnedPackage extends DebianPin {
  name: string;
}

export interface PinnedInputs {
  /** The package that the kernel is in; its source, for a kernel of our own. */
  kernel: PinnedPackage;
  /** The recipe's packages and all they depend on, sorted by name. */
  packages: PinnedPackage[];
}

/** The part of the lock that a recipe uses; or, where it is not complete, the names that are missing so far. */
export function selectPinned(
  recipe: Recipe,
  lock: Lock,
  origin: KernelOrigin = 'prebuilt',
): PinnedInputs | { unpinned: string[] } {
  const unpinned: string[] = [];
  const pin = (name: string): PinnedPackage | undefined => {
    const found = lock.debian[name];
    if (!found) unpinned.push(name);
    return found && { name, ...found };
  };
  const named = pin(origin === 'built' ? (recipe.kernel.source ?? '') : recipe.kernel.package);
  const concrete = named && concreteKernel(named);
  const kernel = concrete === named?.name ? named : concrete && pin(concrete);

  const selected = new Map<string, PinnedPackage>();
  const seen = new Set<string>();
  const queue = recipe.packages.map((one) => one.name);
  for (let name = queue.pop(); name !== undefined; name = queue.pop()) {
    if (seen.has(name)) continue;
    seen.add(name);
    const found = pin(name);
    if (!found) continue;
    selected.set(name, found);
    queue.push(...found.depends);
  }
  if (!kernel || unpinned.length > 0) return { unpinned };
  return { kernel, packages: [...selected.values()].sort((a, b) => (a.name < b.name ? -1 : 1)) };
}

/** A meta package such as linux-image-cloud-amd64 depends on the kernel of the day; a kernel on no other kernel. */
function concreteKernel(named: PinnedPackage): string {
  return named.depends.find((name) => /^linux-image-\d/.test(name)) ?? named.name;
}

export interface PinOptions {
  /** Take the archive's current version of whatever is not pinned or no longer published. */
  updateMissing: boolean;
  /** Which kernel is wanted; the prebuilt one unless given. */
  kernel?: KernelOrigin;
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
  const select = () => selectPinned(recipe, lock, options.kernel);
  for (let state = select(); 'unpinned' in state; state = select()) {
    const names = state.unpinned;
    if (!options.updateMissing) {
      throw new ImageError(
        'package-unpinned',
        `not in the lock file: ${names.map((name) => `${name} (${wantedBy(name, recipe, lock)})`).join(', ')}; run the build with --update-missing to pin the current versions`,
      );
    }
    const offers = await apt.offers(names, (found) => names.every((name) => found.has(name)));
    const unknown = names.filter((name) => !offers.has(name));
    if (unknown.length > 0) {
      const lines = unknown.map(
        (name) => `${wantedBy(name, recipe, lock)}: the Debian archive has no package ${name}`,
      );
      throw new ImageError('package-unavailable', lines.join('\n'));
    }
    for (const name of names) {
      const current = offers.get(name)?.[0];
      if (!current) continue;
      lock.debian[name] = pinOf(current);
      options.progress.notice(`PINNED ${name} ${current.version} (it was not in the lock file)`);
    }
    changed = true;
  }
  return changed;
}

/** The place in the recipe because of which a package is needed, if only by another one. */
function wantedBy(name: string, recipe: Recipe, lock: Lock): string {
  if (name === recipe.kernel.package) return placeOf(recipe, 'kernel', 'package');
  if (name === recipe.kernel.source) return placeOf(recipe, 'kernel', 'source');
  const seen = new Set<string>();
  let users = [name];
  while (users.length > 0) {
    const named = users.find((user) => recipe.packages.some((one) => one.name === user));
    if (named !== undefined) {
      const place = placeOf(recipe, 'packages', named);
      return named === name ? place : `${place} (${named} needs it)`;
    }
    for (const user of users) seen.add(user);
    users = Object.keys(lock.debian).filter(
      (user) => !seen.has(user) && lock.debian[user]?.depends.some((needed) => users.includes(needed)),
    );
  }
  return placeOf(recipe, 'kernel', 'package');
}

/**
 * Brings the pinned packages into the cache.
 * @returns name to .deb; or new pins for the lock, for those whose version is gone (only with `updateMissing`).
 * @throws ImageError `package-unavailable`, naming every package whose version is gone, or `digest-mismatch`.
 */
export async function fetchPinned(
  wanted: readonly PinnedPackage[],
  lock: Lock,
  apt: Apt,
  options: PinOptions,
): Promise<{ archives: Map<string, string> } | { replaced: Map<string, DebianPin> }> {
  const cached = async () => Promise.all(wanted.map(async (one) => [one, await apt.cached(one)] as const));
  const missing = (await cached()).filter(([, path]) => path === undefined).map(([one]) => one);
  if (missing.length > 0) {
    const published = (one: PinnedPackage, offers: Offers) =>
      offers.get(one.name)?.find((offer) => offer.version === one.version);
    const offers = await apt.offers(
      missing.map((one) => one.name),
      (found) => missing.every((one) => published(one, found)),
    );
    for (const one of missing) checkDigest(one, published(one, offers));
    const gone = missing.filter((one) => !published(one, offers));
    if (gone.length > 0) return { replaced: await replaceGone(gone, offers, lock, apt, options) };
    await apt.fetch(missing);
  }
  const archives = (await cached()).flatMap(([one, path]) => (path ? [[one.name, path] as const] : []));
  return { archives: new Map(archives) };
}

function checkDigest(pinned: PinnedPackage, offer: PackageOffer | undefined): void {
  if (!offer || offer.sha256 === pinned.sha256) return;
  throw new ImageError(
    'digest-mismatch',
    `${pinned.name} ${pinned.version} in the archive has SHA-256 ${offer.sha256}, the lock file pins ${pinned.sha256}: one of them was changed; it was not used`,
  );
}

/**
 * New pins for versions that are gone. A package that is gone altogether (the kernel of a release has its number in
 * its name) is replaced by what those who depend on it now depend on: their pins are renewed.
 */
async function replaceGone(
  gone: readonly PinnedPackage[],
  offers: Offers,
  lock: Lock,
  apt: Apt,
  options: PinOptions,
): Promise<Map<string, DebianPin>> {
  const replaced = new Map<string, DebianPin>();
  const unavailable: string[] = [];
  const renew = (name: string, from: string, current: PackageOffer, why: string) => {
    replaced.set(name, pinOf(current));
    options.progress.notice(`UPDATED ${name} from ${from} to ${current.version} (${why})`);
  };
  for (const { name, version } of gone) {
    const current = offers.get(name)?.[0];
    if (options.updateMissing && current) {
      renew(name, version, current, 'the old version is gone');
      continue;
    }
    const renewed = options.updateMissing ? await renewedDependents(name, lock, apt) : [];
    for (const [dependent, offer] of renewed) {
      renew(dependent, lock.debian[dependent]?.version ?? '', offer, `it needed ${name}, which is gone`);
    }
    if (renewed.length > 0) {
      delete lock.debian[name];
      continue;
    }
    unavailable.push(
      `${name} ${version} (${current ? `it now has ${current.version}` : 'it has no other either'})`,
    );
  }
  if (unavailable.length === 0) return replaced;
  throw new ImageError(
    'package-unavailable',
    `the lock file pins versions that the Debian archive no longer has: ${unavailable.join(', ')}; run the build with --update-missing to take the current versions and update the lock file`,
  );
}

/** The current versions of those that depend on `name` in the lock and no longer do in the archive. */
async function renewedDependents(name: string, lock: Lock, apt: Apt): Promise<[string, PackageOffer][]> {
  const dependents = Object.keys(lock.debian).filter((one) => lock.debian[one]?.depends.includes(name));
  if (dependents.length === 0) return [];
  const offers = await apt.offers(dependents, () => true);
  return dependents.flatMap((dependent) => {
    const current = offers.get(dependent)?.[0];
    return current && !current.depends.includes(name) ? [[dependent, current] as [string, PackageOffer]] : [];
  });
}

function pinOf({ name: _name, ...pin }: PackageOffer): DebianPin {
  return pin;
}
