/**
 * Templates in the cache, one folder each:
 *
 *     <cache>/templates/<key>/template.json   what it is, and the digests of the other two
 *                            /ram             the guest's memory, sparse (memory.ts)
 *                            /state           the devices, as QEMU's migration stream
 *     <cache>/templates/<key>.lock            held by whoever makes it (flock)
 *     <cache>/templates/<key>.failed          why the last attempt to make it failed
 *     <cache>/templates/<key>.new-<pid>/      being made
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { rememberedDigest } from '../image-check.ts';
import { type Extent, memoryDigest } from './memory.ts';

export interface TemplateRecord {
  readonly version: 1;
  readonly createdAt: string;
  /** For people. */
  readonly image: string;
  readonly qemu: string;
  readonly accel: 'kvm' | 'tcg';
  readonly vcpus: number;
  readonly memoryBytes: number;
  /** Where the memory is not zero. */
  readonly extents: readonly Extent[];
  readonly ramSha256: string;
  readonly stateSha256: string;
}

export interface Template {
  readonly key: string;
  readonly directory: string;
  readonly ram: string;
  readonly state: string;
  readonly record: TemplateRecord;
}

export interface TemplateEntry {
  readonly key: string;
  readonly usedAt: Date;
  /** Undefined when it cannot be read; `fault` says why. */
  readonly template: Template | undefined;
  readonly fault?: string;
}

/** How many are kept; of more, those that were not used for the longest time go. */
export const KEPT_TEMPLATES = 8;
/** After a failure the next attempt waits: whatever it was, making is not free. */
const RETRY_AFTER_MS = 10 * 60_000;

export class TemplateStore {
  readonly folder: string;
  readonly #cacheDirectory: string;

  constructor(cacheDirectory: string) {
    this.#cacheDirectory = cacheDirectory;
    this.folder = join(cacheDirectory, 'templates');
  }

  directory(key: string): string {
    return join(this.folder, key);
  }

  lockPath(key: string): string {
    return join(this.folder, `${key}.lock`);
  }

  /** Makes the folder: what is in it is the memory of machines, and nobody else's business. */
  prepare(): void {
    mkdirSync(this.folder, { recursive: true, mode: 0o700 });
  }

  /** Undefined when there is none. @throws Error that says what is wrong with the one that there is */
  find(key: string): Template | undefined {
    const directory = this.directory(key);
    if (!existsSync(directory)) return undefined;
    checkOwner(directory);
    const record = JSON.parse(readFileSync(join(directory, 'template.json'), 'utf8')) as TemplateRecord;
    if (record.version !== 1 || !Array.isArray(record.extents))
      throw new Error(`${directory}/template.json is of another version`);
    return { key, directory, record, ram: join(directory, 'ram'), state: join(directory, 'state') };
  }

  /** @throws Error that names the file, when it was cut or changed */
  async verify({ ram, state, record }: Template): Promise<void> {
    const { size } = statSync(ram);
    if (size !== record.memoryBytes)
      throw new Error(
        `${ram} has ${size} bytes and should have ${record.memoryBytes}: it was cut or changed`,
      );
    const stateSha256 = createHash('sha256').update(readFileSync(state)).digest('hex');
    if (stateSha256 !== record.stateSha256) throw new Error(changed(state, stateSha256, record.stateSha256));
    const compute = () => memoryDigest(ram, record.extents);
    const ramSha256 = await rememberedDigest(ram, this.#cacheDirectory, compute);
    if (ramSha256 !== record.ramSha256) throw new Error(changed(ram, ramSha256, record.ramSha256));
  }

  /** For `prune`, which goes by the time of last use. */
  noteUse({ directory }: Template): void {
    const now = new Date();
    try {
      utimesSync(join(directory, 'template.json'), now, now);
    } catch {
      // It was removed meanwhile; what is open of it stays.
    }
  }

  /** Puts a finished one in its place. */
  publish(key: string, from: string): void {
    this.drop(key);
    renameSync(from, this.directory(key));
    rmSync(this.#failurePath(key), { force: true });
  }

  drop(key: string): void {
    rmSync(this.directory(key), { recursive: true, force: true });
  }

  /** Why the last attempt to make it failed, when that was a short time ago. */
  failure(key: string): string | undefined {
    try {
      const path = this.#failurePath(key);
      const age = Date.now() - statSync(path).mtimeMs;
      return age < RETRY_AFTER_MS ? readFileSync(path, 'utf8').trim() : undefined;
    } catch {
      return undefined;
    }
  }

  noteFailure(key: string, reason: string): void {
    try {
      writeFileSync(this.#failurePath(key), `${reason}\n`, { mode: 0o600 });
    } catch {
      // A full disk, say: then the next start tries again.
    }
  }

  /** The one used last first. */
  list(): TemplateEntry[] {
    return this.#names()
      .filter((name) => /^[0-9a-f]{32}$/.test(name))
      .map((key) => this.#describe(key))
      .sort((a, b) => b.usedAt.getTime() - a.usedAt.getTime());
  }

  #describe(key: string): TemplateEntry {
    const record = statSync(join(this.directory(key), 'template.json'), { throwIfNoEntry: false });
    const usedAt = record?.mtime ?? new Date(0);
    try {
      return { key, usedAt, template: this.find(key) };
    } catch (error) {
      return { key, usedAt, template: undefined, fault: (error as Error).message };
    }
  }

  /** Removes all but the `keep` that were used last. @returns their keys */
  prune(keep = KEPT_TEMPLATES): string[] {
    const gone = this.list().slice(keep);
    for (const { key } of gone) {
      this.drop(key);
      rmSync(this.lockPath(key), { force: true });
    }
    return gone.map(({ key }) => key);
  }

  /** Of makers that were killed. */
  removeUnfinished(): void {
    for (const name of this.#names()) {
      const pid = /\.new-(\d+)$/.exec(name)?.[1];
      if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
      rmSync(join(this.folder, name), { recursive: true, force: true });
    }
  }

  #failurePath(key: string): string {
    return join(this.folder, `${key}.failed`);
  }

  #names(): string[] {
    return existsSync(this.folder) ? readdirSync(this.folder) : [];
  }
}

/** Whoever can read a template can read what is the same in all VMs that are started from it; who writes it has them. */
function checkOwner(directory: string): void {
  const { uid, mode } = statSync(directory);
  const own = process.geteuid!();
  if (uid !== own) throw new Error(`${directory} belongs to user ${uid}, and not to ${own}`);
  if ((mode & 0o077) !== 0)
    throw new Error(`others may enter ${directory}: its mode is ${(mode & 0o777).toString(8)}, and not 700`);
}

function changed(path: string, is: string, should: string): string {
  return `${path} has SHA-256 ${is} and should have ${should}: it was changed`;
}
