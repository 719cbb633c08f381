/**
 * Asks apt, without root and without touching the system's own state. The machine's package lists are used
 * as they are; when they do not know a version, fresh lists are fetched into our cache from the same sources.
 */
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256File } from './digest.ts';
import { ImageError } from './errors.ts';
import type { DebianPin } from './lock.ts';
import type { Progress } from './progress.ts';
import { run } from './run.ts';

/** One version of a package as the archive offers it. */
export interface PackageOffer extends DebianPin {
  name: string;
}

export class Apt {
  readonly #folder: string;
  readonly #progress: Progress;
  readonly #signal: AbortSignal | undefined;
  #freshLists: Promise<void> | undefined;
  #options: string[] = [];

  /** @param cache folder in which `packages/` and, where needed, `apt/` are kept */
  constructor(cache: string, progress: Progress, signal?: AbortSignal) {
    this.#folder = cache;
    this.#progress = progress;
    this.#signal = signal;
  }

  /**
   * What the archive has of a package; the version that apt would install comes first. A version that is wanted
   * and not offered, or a package that is unknown, makes it look once into fresh lists.
   */
  async offers(name: string, wantedVersion?: string): Promise<PackageOffer[]> {
    const found = await this.#show(name);
    const enough =
      wantedVersion === undefined ? found.length > 0 : found.some((one) => one.version === wantedVersion);
    if (enough || this.#freshLists !== undefined) return found;
    this.#freshLists = this.#fetchLists();
    await this.#freshLists;
    return this.#show(name);
  }

  async #show(name: string): Promise<PackageOffer[]> {
    const [candidate, all] = await Promise.all([
      this.#cacheShow(['--no-all-versions', name]),
      this.#cacheShow([name]),
    ]);
    const first = parseOffers(candidate).filter((one) => one.name === name);
    const others = parseOffers(all).filter((one) => one.name === name && one.sha256 !== first[0]?.sha256);
    return [...first, ...others];
  }

  async #cacheShow(args: string[]): Promise<string> {
    try {
      return await run('apt-cache', [...this.#options, 'show', ...args], this.#runOptions());
    } catch (error) {
      // apt-cache has no other way of saying that it knows no such package.
      if (error instanceof ImageError && error.code === 'tool-failed') return '';
      throw error;
    }
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
  }

  /** The .deb of a pin that was fetched before, its digest checked again. */
  async cached(pin: DebianPin): Promise<string | undefined> {
    const path = this.#path(pin);
    return (await hasDigest(path, pin.sha256, this.#signal)) ? path : undefined;
  }

  #path(pin: DebianPin): string {
    return join(this.#folder, 'packages', `${pin.sha256}.deb`);
  }

  /** Downloads a package into the cache and returns the path of its .deb, whose digest has been checked. */
  async fetch(name: string, pin: DebianPin): Promise<string> {
    const packages = join(this.#folder, 'packages');
    await mkdir(packages, { recursive: true });
    const work = await mkdtemp(join(packages, '.fetch-'));
    try {
      const wanted = `${name}=${pin.version}`;
      const args = [...this.#options, ...asCaller, '-qq', 'download', wanted];
      await run('apt-get', args, { ...this.#runOptions(), cwd: work });
      const [file] = await readdir(work);
      const fetched = join(work, file ?? 'nothing');
      if (!(await hasDigest(fetched, pin.sha256, this.#signal))) {
        throw new ImageError(
          'digest-mismatch',
          `the archive's ${wanted} does not have the SHA-256 ${pin.sha256} that the lock file pins; it was not used`,
        );
      }
      await rename(fetched, this.#path(pin));
      return this.#path(pin);
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
