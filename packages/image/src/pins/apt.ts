/**
 * Asks apt, without root and without touching the system's own state. The machine's package lists are used
 * as they are; when they do not know a version, fresh lists are fetched into our cache from the same sources.
 */
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { holdCache, noteUse } from '../cache/use.ts';
import { sha256File } from '../digest.ts';
import { ImageError } from '../errors.ts';
import type { Progress } from '../progress.ts';
import { run } from '../run.ts';
import type { DebianPin } from './lock.ts';

/** One version of a package as the archive offers it. */
export interface PackageOffer extends DebianPin {
  name: string;
}

export type Offers = ReadonlyMap<string, readonly PackageOffer[]>;

export class Apt {
  readonly #folder: string;
  readonly #progress: Progress;
  readonly #signal: AbortSignal | undefined;
  /** From the start, for the caller uses more of the cache than packages. */
  readonly #held: Promise<void>;
  #listsAreFresh = false;
  #options: string[] = [];

  /** @param cache folder in which `packages/` and, where needed, `apt/` are kept */
  constructor(cache: string, progress: Progress, signal?: AbortSignal) {
    this.#folder = cache;
    this.#progress = progress;
    this.#signal = signal;
    this.#held = holdCache(cache);
  }

  /**
   * What the archive has of some packages, by name; the version that apt would install comes first. `enough` says
   * whether that is what was hoped for; if not, fresh lists are fetched, once, and asked.
   */
  async offers(names: readonly string[], enough: (offers: Offers) => boolean): Promise<Offers> {
    const found = await this.#show(names);
    if (this.#listsAreFresh || enough(found)) return found;
    await this.#fetchLists();
    return this.#show(names);
  }

  /** One call for all names: apt-cache takes half a second to open its lists. */
  async #show(names: readonly string[]): Promise<Offers> {
    const [candidates, all] = await Promise.all([
      this.#cacheShow(['--no-all-versions', ...names]),
      this.#cacheShow(names),
    ]);
    const offers = new Map<string, PackageOffer[]>();
    for (const offer of [...parseOffers(candidates), ...parseOffers(all)]) {
      const known = offers.get(offer.name) ?? [];
      if (!known.some((one) => one.sha256 === offer.sha256)) known.push(offer);
      offers.set(offer.name, known);
    }
    return offers;
  }

  /** apt-cache fails when it knows none of the names, and prints those that it knows. */
  #cacheShow(args: readonly string[]): Promise<string> {
    return run('apt-cache', [...this.#options, 'show', ...args], {
      ...this.#runOptions(),
      anyExitCode: true,
    });
  }

  #runOptions() {
    return { signal: this.#signal, debianPackage: 'apt' };
  }

  async #fetchLists(): Promise<void> {
    const lists = join(this.#folder, 'apt', 'lists');
    const archives = join(this.#folder, 'apt', 'cache');
    await mkdir(join(lists, 'partial'), { recursive: true });
    await mkdir(join(archives, 'archives', 'partial'), { recursive: true });
    const options = ['-o', `Dir::State::Lists=${lists}`, '-o', `Dir::Cache=${archives}`, ...asCaller];
    await this.#progress.step('fetch fresh package lists', () =>
      run('apt-get', [...options, '-qq', 'update'], this.#runOptions()),
    );
    this.#options = options;
    this.#listsAreFresh = true;
  }

  /** The .deb of a pin that was fetched before, its digest checked again. */
  async cached(pin: DebianPin): Promise<string | undefined> {
    const path = this.#path(pin);
    await this.#held;
    if (!(await hasDigest(path, pin.sha256, this.#signal))) return undefined;
    await noteUse(path);
    return path;
  }

  #path(pin: DebianPin): string {
    return join(this.#folder, 'packages', `${pin.sha256}.deb`);
  }

  /**
   * Downloads packages into the cache, all in one go.
   * @throws ImageError `digest-mismatch` when one is not what its pin says; it is not kept.
   */
  async fetch(pins: readonly (DebianPin & { name: string })[]): Promise<void> {
    const packages = join(this.#folder, 'packages');
    await mkdir(packages, { recursive: true });
    const work = await mkdtemp(join(packages, '.fetch-'));
    try {
      const wanted = pins.map((pin) => `${pin.name}=${pin.version}`);
      const args = [...this.#options, ...asCaller, '-qq', 'download', ...wanted];
      await run('apt-get', args, { ...this.#runOptions(), cwd: work });
      const byDigest = new Map<string, string>();
      for (const file of await readdir(work)) {
        const path = join(work, file);
        byDigest.set(await sha256File(path, this.#signal), path);
      }
      for (const pin of pins) {
        const fetched = byDigest.get(pin.sha256);
        if (fetched === undefined) {
          throw new ImageError(
            'digest-mismatch',
            `what the archive sent as ${pin.name} ${pin.version} does not have the SHA-256 ${pin.sha256} that the lock file pins; it was not used`,
          );
        }
        await rename(fetched, this.#path(pin));
      }
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }
}

/** As root, apt would download as the user _apt, who may not write where we do. */
const asCaller = ['-o', 'APT::Sandbox::User='];

async function hasDigest(path: string, digest: string, signal?: AbortSignal): Promise<boolean> {
  try {
    return (await sha256File(path, signal)) === digest;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

/** Reads the stanzas of `apt-cache show`; those without a digest (only installed, not in the archive) are left out. */
export function parseOffers(text: string): PackageOffer[] {
  return text
    .split(/\n\s*\n/)
    .map(
      (stanza) =>
        new Map([...stanza.matchAll(/^([A-Za-z0-9-]+):[ \t]*(.*)$/gm)].map((m) => [m[1], m[2] ?? ''])),
    )
    .flatMap((fields) => {
      const [name, version, sha256] = [fields.get('Package'), fields.get('Version'), fields.get('SHA256')];
      if (!name || !version || !sha256) return [];
      return [
        {
          name,
          version,
          architecture: fields.get('Architecture') ?? '',
          sizeBytes: Number(fields.get('Size')),
          sha256,
          depends: parseDepends(`${fields.get('Pre-Depends') ?? ''},${fields.get('Depends') ?? ''}`),
        },
      ];
    });
}

/** Names out of a Depends field (Debian policy, section 7.1). Of alternatives the first is the archive's choice. */
export function parseDepends(field: string): string[] {
  const names = field
    .split(',')
    .map((group) => /^\s*([a-z0-9][a-z0-9+.-]+)/.exec(group)?.[1])
    .filter((name) => name !== undefined);
  return [...new Set(names)].sort();
}
