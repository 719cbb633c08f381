import { chmod, copyFile, mkdir, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';

/**
 * The root filesystem as it is put together in a folder of the builder. Modes are always set, never taken from
 * the umask or from the source, so that two users get the same image.
 */
export class RootTree {
  readonly folder: string;
  readonly #made = new Set<string>();

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

  async directory(path: string, mode = 0o755): Promise<void> {
    await mkdir(join(this.folder, path), { recursive: true });
    await this.#parents(path);
    await chmod(join(this.folder, path), mode);
    this.#made.add(path);
  }

  async text(path: string, content: string): Promise<void> {
    await this.#parents(path);
    await writeFile(join(this.folder, path), content);
    await this.#finish(path, 0o644);
  }

  /** Copies a file of the host; links are followed. */
  async copy(path: string, source: string, mode: 0o644 | 0o755): Promise<void> {
    await this.#parents(path);
    await copyFile(source, join(this.folder, path));
    await this.#finish(path, mode);
  }

  async link(path: string, target: string): Promise<void> {
    await this.#parents(path);
    await symlink(target, join(this.folder, path));
    this.#made.add(path);
  }

  async #finish(path: string, mode: number): Promise<void> {
    await chmod(join(this.folder, path), mode);
    this.#made.add(path);
  }

  async #parents(path: string): Promise<void> {
    const parent = dirname(path);
    if (parent !== '.' && !this.#made.has(parent)) await this.directory(parent);
  }
}
