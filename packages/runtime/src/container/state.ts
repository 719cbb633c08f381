/**
 * What is known of each container: one folder per container under the root, in it
 *
 *     state.json     written whole or not at all
 *     lock           flock(2), held by whoever changes the container; dropped by the kernel when the holder dies
 *     exit.json      written by the shim when the container's process has ended
 *     network.json   what was done to its network namespace (network/record.ts)
 *     network.log    why its changes could not be followed
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lock } from '@coracle/sys';
import { CliError, errnoCode, messageOf } from '../cli/errors.ts';
import type { DriverName } from '../host/settings.ts';
import type { NetworkNamespace } from '../network/namespace.ts';
import type { Hooks, Resources } from '../spec/spec.ts';
import type { ProcessIdentity } from './process-identity.ts';

export interface ContainerState {
  readonly version: 1;
  readonly id: string;
  /** `creating` until the container is there; a crash may leave it so. */
  readonly phase: 'creating' | 'created' | 'started';
  readonly paused: boolean;
  readonly bundle: string;
  readonly rootfs: string;
  readonly ociVersion: string;
  readonly annotations: Readonly<Record<string, string>>;
  /** RFC 3339. */
  readonly createdAt: string;
  /** User id of who created it. */
  readonly owner: number;
  readonly sandboxId: string;
  /** The folder of the virtual machine. */
  readonly sandboxDirectory: string;
  readonly proxySocket: string;
  readonly driver: DriverName;
  /** It has a process namespace of its own: all its processes end with the first. */
  readonly ownProcesses?: boolean;
  /** The limits in force, when there are any: of config.json, changed by `update`. */
  readonly resources?: Resources;
  /** Where the shim lives; the local driver's containers themselves do not. */
  readonly network?: NetworkNamespace;
  /** Those that are run when the bundle may be gone. */
  readonly hooks?: Pick<Hooks, 'poststart' | 'poststop'>;
  /** What the engine watches as the container's process. */
  readonly shim?: ProcessIdentity;
  /** A `coracle run` in the foreground, which removes the container when it ends. */
  readonly runner?: ProcessIdentity;
}

/** Loaded when it is needed: `state` and `list` do without foreign calls, and are called all the time. */
const sys = () => import('@coracle/sys');

/** Another command on the same container is short, but for one that boots the VM. */
const lockTimeoutMs = 30_000;

export class StateStore {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  directory(id: string): string {
    return join(this.root, id);
  }

  exitFile(id: string): string {
    return join(this.root, id, 'exit.json');
  }

  networkFile(id: string): string {
    return join(this.root, id, 'network.json');
  }

  /**
   * Takes the id, and the lock with it.
   * @throws CliError when it is in use, or the root cannot be written
   */
  async reserve(id: string): Promise<Lock> {
    const directory = this.directory(id);
    try {
      mkdirSync(this.root, { recursive: true, mode: 0o700 });
      mkdirSync(directory, { mode: 0o700 });
    } catch (cause) {
      if (errnoCode(cause) === 'EEXIST') {
        throw new CliError(
          `container with given ID already exists: ${id}; use another id, or remove it with coracle delete --force ${id}`,
        );
      }
      throw new CliError(`cannot make the state folder ${directory}: ${messageOf(cause)}`, { cause });
    }
    const lock = await this.tryLock(id);
    // Between mkdir and here `delete --force` or `gc` may have taken the empty folder for a crash's.
    if (lock === undefined) throw new CliError(`container ${id} was removed while it was being created`);
    return lock;
  }

  /** @throws CliError `does not exist`; when somebody holds the lock for long */
  async lock(id: string): Promise<Lock> {
    const path = join(this.directory(id), 'lock');
    const { lockFile } = await sys();
    try {
      return await lockFile(path, { signal: AbortSignal.timeout(lockTimeoutMs) });
    } catch (cause) {
      if (errnoCode(cause) === 'ENOENT') throw missing(id, this.root);
      if ((cause as Error).name !== 'TimeoutError') throw cause;
      throw new CliError(
        `container ${id} is busy: another command has held ${path} for ${lockTimeoutMs / 1000} s (fuser ${path} says which)`,
      );
    }
  }

  /** Undefined while somebody else works on the container. */
  async tryLock(id: string): Promise<Lock | undefined> {
    const { tryLockFile } = await sys();
    try {
      return tryLockFile(join(this.directory(id), 'lock'));
    } catch (error) {
      if (errnoCode(error) === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** @throws CliError `does not exist`, or a state file that cannot be understood */
  read(id: string): ContainerState {
    const state = this.find(id);
    if (state === undefined) throw missing(id, this.root);
    return state;
  }

  /** Undefined when there is none, or nothing was written yet. */
  find(id: string): ContainerState | undefined {
    const path = join(this.directory(id), 'state.json');
    try {
      const state = JSON.parse(readFileSync(path, 'utf8')) as ContainerState;
      if (state.version === 1) return state;
      throw new Error(`its version ${state.version} is not known to this program`);
    } catch (cause) {
      if (errnoCode(cause) === 'ENOENT' || errnoCode(cause) === 'ENOTDIR') return undefined;
      throw new CliError(`cannot read the state of container ${id}, ${path}: ${messageOf(cause)}`, { cause });
    }
  }

  /** @throws CliError when it cannot be written, such as a full disk */
  write(state: ContainerState): void {
    const path = join(this.directory(state.id), 'state.json');
    const temporary = `${path}.new`;
    try {
      writeFileSync(temporary, `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
      renameSync(temporary, path);
    } catch (cause) {
      rmSync(temporary, { force: true });
      throw new CliError(`cannot write the state of container ${state.id}, ${path}: ${messageOf(cause)}`, {
        cause,
      });
    }
  }

  remove(id: string): void {
    rmSync(this.directory(id), { recursive: true, force: true });
  }

  exists(id: string): boolean {
    return this.ids().includes(id);
  }

  ids(): string[] {
    try {
      return readdirSync(this.root, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name)
        .sort();
    } catch (error) {
      if (errnoCode(error) === 'ENOENT') return [];
      throw new CliError(`cannot read the state folder ${this.root}: ${messageOf(error)}`, { cause: error });
    }
  }
}

export function missing(id: string, root: string): CliError {
  return new CliError(`container ${JSON.stringify(id)} does not exist: ${root} has no state of it`);
}
