/**
 * A pool: VMs that were started from a template and wait, so that a container gets one that runs already. One folder,
 * one pool at a time (`lock` in it); each VM is taken by `claim`. Refilled one by one, and ended when the pool is closed.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, type FSWatcher, mkdirSync, readdirSync, renameSync, rmSync, watch } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type Lock, tryLockFile } from '@coracle/sys';
import type { Vm } from '../driver.ts';
import { VmError } from '../errors.ts';
import { stopVm } from '../vm.ts';
import { readyIn, unreadyFolder } from './claim.ts';

export interface PoolOptions {
  /** On the same file system as the sandboxes' folders; made if missing. */
  readonly directory: string;
  /** How many VMs wait. */
  readonly size: number;
  /** Starts one in the folder given. */
  readonly start: (directory: string, signal: AbortSignal) => Promise<Vm>;
  /** Tags of the shares that it has, empty as yet: it is for whoever wants the same. */
  readonly shares?: readonly string[];
  /** What is done with each before it can be had, within a minute: `rehearseVm` of @coracle/client. */
  readonly prepare?: ((vm: Vm, options: PrepareOptions) => Promise<void>) | undefined;
  /** Told what changes. */
  readonly onChange?: ((state: PoolState) => void) | undefined;
}

export interface PrepareOptions {
  readonly shares: readonly string[];
  readonly signal: AbortSignal;
}

export interface PoolState {
  readonly waiting: number;
  readonly size: number;
  /** Why the last one could not be started; the next attempt follows. */
  readonly failure?: string;
}

/** After a VM that could not be started, longer each time. */
const RETRY_FIRST_MS = 1000;
const RETRY_LAST_MS = 60_000;
/** One was taken: the container that it is for starts first. */
const REFILL_DELAY_MS = 1000;
const PREPARE_TIMEOUT_MS = 60_000;
const LOCK = 'lock';

export class VmPool implements AsyncDisposable {
  readonly #options: PoolOptions;
  readonly #lock: Lock;
  readonly #watcher: FSWatcher;
  readonly #closing = new AbortController();
  readonly #refilling: Promise<void>;
  /** Ends the wait for something to do. */
  #wake = () => {};

  /** @throws VmError `already-started` when another pool has the folder */
  static async open(options: PoolOptions): Promise<VmPool> {
    const { directory } = options;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const lock = tryLockFile(join(directory, LOCK));
    if (lock === undefined)
      throw new VmError('already-started', `there is a pool in ${directory} already`, {
        remedy: 'End that one first.',
      });
    try {
      // Of a pool that was killed.
      await endAll(directory);
      return new VmPool(options, lock);
    } catch (error) {
      lock.release();
      throw error;
    }
  }

  private constructor(options: PoolOptions, lock: Lock) {
    this.#options = options;
    this.#lock = lock;
    this.#watcher = watch(options.directory, () => this.#wake());
    this.#refilling = this.#refill();
  }

  /** Ends the VMs that nobody has taken. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#wake();
    await this.#refilling;
    this.#watcher.close();
    await endAll(this.#options.directory);
    this.#lock.release();
  }

  async #refill(): Promise<void> {
    const { directory, size, onChange } = this.#options;
    let retryMs = RETRY_FIRST_MS;
    let told = -1;
    while (!this.#closing.signal.aborted) {
      // From here on a change is not missed, whatever is done meanwhile.
      const changed = new Promise<void>((resolve) => (this.#wake = resolve));
      const waiting = readyIn(directory).length;
      const taken = waiting < told;
      if (waiting !== told) onChange?.({ waiting, size });
      told = waiting;
      if (waiting >= size) {
        await changed;
        continue;
      }
      const { signal } = this.#closing;
      if (taken) await delay(REFILL_DELAY_MS, undefined, { signal }).catch(() => undefined);
      if (signal.aborted) return;
      try {
        await this.#add();
        retryMs = RETRY_FIRST_MS;
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        onChange?.({ waiting, size, failure: (error as Error).message });
        const timer = setTimeout(() => this.#wake(), retryMs);
        await changed;
        clearTimeout(timer);
        retryMs = Math.min(2 * retryMs, RETRY_LAST_MS);
      }
    }
  }

  async #add(): Promise<void> {
    const { directory, start, prepare, shares = [] } = this.#options;
    const closing = this.#closing.signal;
    const name = randomBytes(4).toString('hex');
    const unready = unreadyFolder(directory, name);
    mkdirSync(unready, { mode: 0o700 });
    try {
      const vm = await start(unready, closing);
      const signal = AbortSignal.any([closing, AbortSignal.timeout(PREPARE_TIMEOUT_MS)]);
      await prepare?.(vm, { shares, signal });
      renameSync(unready, join(directory, name));
      void vm.waitExit({ signal: closing }).then(
        // Where it died it makes room for another; one that was taken is no more here.
        () => this.#remove(name),
        () => undefined,
      );
    } catch (error) {
      await stopVm(unready, true);
      rmSync(unready, { recursive: true, force: true });
      throw error;
    }
  }

  #remove(name: string): void {
    const { directory } = this.#options;
    const aside = unreadyFolder(directory, name);
    try {
      renameSync(join(directory, name), aside);
    } catch {
      return;
    }
    rmSync(aside, { recursive: true, force: true });
    this.#wake();
  }
}

/** Ends the VMs of a pool that was killed. @returns how many; none while there is a pool */
export async function clearPool(directory: string): Promise<number> {
  if (!existsSync(directory)) return 0;
  using lock = tryLockFile(join(directory, LOCK));
  return lock === undefined ? 0 : await endAll(directory);
}

/** Takes them out of reach first. */
async function endAll(directory: string): Promise<number> {
  for (const name of readyIn(directory)) {
    try {
      renameSync(join(directory, name), unreadyFolder(directory, name));
    } catch {
      // Taken just now.
    }
  }
  const names = readdirSync(directory).filter((name) => name !== LOCK);
  for (const name of names) {
    const path = join(directory, name);
    await stopVm(path, true);
    rmSync(path, { recursive: true, force: true });
  }
  return names.length;
}
