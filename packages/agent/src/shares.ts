/** File systems shared by the host, and paths inside them. */
import { closeSync, constants, fstatSync, mkdirSync, openSync, rmdirSync, statSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { mount, unmount } from '@coracle/sys';
import { RpcError, type Share } from '@coracle/wire';
import { checkId, invalid } from './check.ts';
import { log, reasonOf } from './log.ts';

/** 9p: large messages, since each is an exit to the host; mmap so that programs can be run from it. */
const OPTIONS_9P = 'trans=virtio,version=9p2000.L,msize=262144,cache=mmap';

export class Shares {
  readonly #folder: string;
  readonly #local: boolean;
  readonly #roots = new Map<string, string>();
  /** By device: a descriptor of each file system below a share. */
  readonly #held = new Map<number, number>();

  constructor(stateFolder: string, local: boolean) {
    this.#folder = join(stateFolder, 'shares');
    this.#local = local;
  }

  /** @throws RpcError when it can't be mounted */
  add(share: Share, rehearsal: boolean): void {
    checkId(share.tag, 'shares.tag');
    if (this.#roots.has(share.tag))
      throw new RpcError('already_exists', `share "${share.tag}" is there already`);
    this.#roots.set(
      share.tag,
      share.type === 'local' ? this.#addLocal(share) : this.#mount(share, rehearsal),
    );
  }

  /** The path of something inside a share. It stays inside, as far as names go; links are the host's business. */
  resolve(tag: string, path: string, field: string): string {
    const root = this.#roots.get(tag);
    if (root === undefined) throw invalid(field, `names share "${tag}", which this sandbox does not have`);
    if (path.includes('\0')) throw invalid(field, 'must not contain a NUL byte');
    const inside = join(root, normalize(`/${path}`));
    if (!this.#local) this.#hold(inside);
    return inside;
  }

  /**
   * Keeps what the host has mounted below a share mounted here. The kernel mounts such a place when it is first
   * entered, in the mount namespace of whoever enters. If only crun did, the mount would end with the container,
   * and Linux 6.1 has a bug there: releases of files that virtiofsd has not answered yet keep inodes busy
   * ("Busy inodes after unmount", kernel BUG at fs/super.c), which happened when containers were killed early. An
   * open descriptor also keeps the directory's cache from being dropped under the containers
   * (kata-containers issue 8040).
   */
  #hold(path: string): void {
    try {
      const fd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const { dev } = fstatSync(fd);
      if (this.#held.has(dev)) closeSync(fd);
      else this.#held.set(dev, fd);
    } catch {
      // It is not there, which whoever uses the path reports; or a socket, which can't be opened.
    }
  }

  #release(): void {
    for (const fd of this.#held.values()) closeSync(fd);
    this.#held.clear();
  }

  removeAll(): void {
    this.#release();
    for (const [tag, root] of this.#roots) {
      if (this.#local) continue;
      try {
        unmount(root, { detach: true });
        rmdirSync(root);
      } catch (error) {
        log('warn', 'cannot unmount a share', { tag, reason: reasonOf(error) });
      }
    }
    this.#roots.clear();
  }

  #addLocal(share: Share): string {
    if (!this.#local)
      throw invalid('shares.type', `"local" makes no sense inside a VM (share "${share.tag}")`);
    if (!statSync(share.source, { throwIfNoEntry: false })?.isDirectory()) {
      throw new RpcError('not_found', `share "${share.tag}": there is no folder ${share.source}`);
    }
    return share.source;
  }

  #mount(share: Share, rehearsal: boolean): string {
    if (this.#local) throw invalid('shares.type', `must be "local" without a VM (share "${share.tag}")`);
    const guest = share.type === 'guest' && rehearsal;
    const data = guest ? null : { virtiofs: null, '9p': OPTIONS_9P }[share.type];
    if (data === undefined) throw invalid('shares.type', `"${share.type}" is unknown; use virtiofs or 9p`);
    const target = join(this.#folder, share.tag);
    mkdirSync(target, { recursive: true });
    try {
      // The guest's own root has a program to run, and nothing can be written there.
      if (guest) mount('/', target, null, ['bind']);
      else mount(share.tag, target, share.type, share.readonly ? ['ro'] : [], data);
    } catch (error) {
      rmdirSync(target);
      throw new RpcError(
        'unavailable',
        `cannot mount share "${share.tag}" (${share.type}): ${reasonOf(error)}`,
      );
    }
    return target;
  }
}
