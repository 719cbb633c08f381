import { chmod, copyFile, mkdir, rm, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/** Where something in the image is from. `builder`: written by ourselves; `agent`: our own program and its addon. */
export type Origin =
  | { readonly kind: 'debian' | 'npm'; readonly package: string }
  | { readonly kind: 'agent' | 'builder' | 'recipe' };

export interface TreeEntry {
  readonly path: string;
  readonly type: 'directory' | 'file' | 'symlink';
  readonly origin: Origin;
}

const builder: Origin = { kind: 'builder' };

/** A path that cannot be made, in a sentence about it. */
export class RootPathError extends Error {}

/**
 * The root filesystem as it is put together in a folder of the builder. Modes are always set, never taken from
 * the umask or from the source, so that two users get the same image. What is made at a path where a file or a link
 * is replaces it. Nothing is ever written through a link: an absolute one would lead out of the folder.
 */
export class RootTree {
  readonly folder: string;
  readonly #made = new Map<string, TreeEntry>();

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
    return this.#made.get(path)?.type === 'directory';
  }

  /** What was made so far, sorted by path. */
  get entries(): TreeEntry[] {
    return [...this.#made.values()].sort((a, b) => (a.path < b.path ? -1 : 1));
  }

  /** @throws RootPathError when something else is there, or above it; so do the others */
  async directory(path: string, mode = 0o755, origin = builder): Promise<void> {
    const made = this.#made.get(path);
    if (made && made.type !== 'directory')
      throw new RootPathError(`/${path} is a ${made.type} already, not a folder`);
    await this.#parents(path, origin);
    if (!made) await mkdir(join(this.folder, path));
    await chmod(join(this.folder, path), mode);
    this.#made.set(path, { path, type: 'directory', origin: made?.origin ?? origin });
  }

  async text(path: string, content: string, mode = 0o644, origin = builder): Promise<void> {
    await this.#clear(path, origin);
    await writeFile(join(this.folder, path), content);
    await this.#finish(path, mode, origin);
  }

  /** Copies a file of the host; links are followed. */
  async copy(path: string, source: string, mode: number, origin: Origin): Promise<void> {
    await this.#clear(path, origin);
    await copyFile(source, join(this.folder, path));
    await this.#finish(path, mode, origin);
  }

  async link(path: string, target: string, origin = builder): Promise<void> {
    await this.#clear(path, origin);
    await symlink(target, join(this.folder, path));
    this.#made.set(path, { path, type: 'symlink', origin });
  }

  async #clear(path: string, origin: Origin): Promise<void> {
    await this.#parents(path, origin);
    const made = this.#made.get(path);
    if (made?.type === 'directory') throw new RootPathError(`/${path} is a folder already`);
    if (made) await rm(join(this.folder, path));
    this.#made.delete(path);
  }

  async #finish(path: string, mode: number, origin: Origin): Promise<void> {
    await chmod(join(this.folder, path), mode);
    this.#made.set(path, { path, type: 'file', origin });
  }

  async #parents(path: string, origin: Origin): Promise<void> {
    const parent = dirname(path);
    if (parent === '.') return;
    const made = this.#made.get(parent);
    if (made && made.type !== 'directory')
      throw new RootPathError(`/${path} would lie in /${parent}, which is a ${made.type}`);
    if (!made) await this.directory(parent, 0o755, origin);
  }
}
