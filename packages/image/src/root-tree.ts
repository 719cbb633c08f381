import { chmod, copyFile, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** A path that cannot be made, in a sentence about it. */
export class RootPathError extends Error {}

type Kind = 'file' | 'directory' | 'link';

/**
 * The root filesystem as it is put together in a folder of the builder. Modes are always set, never taken from
 * the umask or from the source, so that two users get the same image. What is made at a path where a file or a link
 * is replaces it. Nothing is ever written through a link: an absolute one would lead out of the folder.
 */
export class RootTree {
  readonly folder: string;
  readonly #made = new Map<string, Kind>();

  constructor(folder: string) {
    this.folder = folder;
  }

  /** Makes the root itself. */
  async begin(): Promise<void> {
    await mkdir(this.folder, { recursive: true });
    await chmod(this.folder, 0o755);
  }

  has(path: string): boolean {
    return this.#made.has(path);
  }

  isDirectory(path: string): boolean {
    return this.#made.get(path) === 'directory';
  }

  /** @throws RootPathError when something else is there, or above it; so do the others */
  async directory(path: string, mode = 0o755): Promise<void> {
    const kind = this.#made.get(path);
    if (kind && kind !== 'directory') throw new RootPathError(`/${path} is a ${kind} already, not a folder`);
    await this.#parents(path);
    if (!kind) await mkdir(join(this.folder, path));
    await chmod(join(this.folder, path), mode);
    this.#made.set(path, 'directory');
  }

  async text(path: string, content: string, mode = 0o644): Promise<void> {
    await this.#clear(path);
    await writeFile(join(this.folder, path), content);
    await this.#finish(path, mode);
  }

  /** Copies a file of the host; links are followed. */
  async copy(path: string, source: string, mode: number): Promise<void> {
    await this.#clear(path);
    await copyFile(source, join(this.folder, path));
    await this.#finish(path, mode);
  }

  async link(path: string, target: string): Promise<void> {
    await this.#clear(path);
    await symlink(target, join(this.folder, path));
    this.#made.set(path, 'link');
  }

  async #clear(path: string): Promise<void> {
    await this.#parents(path);
    const kind = this.#made.get(path);
    if (kind === 'directory') throw new RootPathError(`/${path} is a folder already`);
    if (kind) await rm(join(this.folder, path));
    this.#made.delete(path);
  }

  async #finish(path: string, mode: number): Promise<void> {
    await chmod(join(this.folder, path), mode);
    this.#made.set(path, 'file');
  }

  async #parents(path: string): Promise<void> {
    const parent = dirname(path);
    if (parent === '.') return;
    const kind = this.#made.get(parent);
    if (kind && kind !== 'directory')
      throw new RootPathError(`/${path} would lie in /${parent}, which is a ${kind}`);
    if (!kind) await this.directory(parent);
  }
}
