import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { vmPaths } from './directory.ts';
import { VmError } from './errors.ts';
import type { ProcessIdentity } from './identity.ts';

/** `vm.json`: all that another process needs to find, steer and end the VM. */
export interface VmRecord {
  readonly version: 1;
  readonly driver: 'qemu' | 'local';
  /** `starting` until QEMU answers on QMP; a record left in that state is of a start that was killed. */
  readonly state: 'starting' | 'running' | 'stopped';
  readonly createdAt: string;
  readonly accel?: 'kvm' | 'tcg';
  /** What carries the link; a unix socket unless said. */
  readonly transport?: 'virtio-serial' | 'vsock' | 'unix' | 'hybrid' | 'hybrid-listen';
  /** The key of the template that it was started from. */
  readonly template?: string;
  /** It waited in a pool: the folder in which it was started, which its processes' environment names. */
  readonly startedIn?: string;
  /** The guest's CID, with vsock. */
  readonly cid?: number;
  readonly image?: string;
  readonly memoryBytes?: number;
  readonly vcpus?: number;
  /** The process that is the VM: QEMU, or the agent of the local driver. */
  readonly main?: ProcessIdentity;
  /** Tags of the shares: their sockets and folders have to be removed. */
  readonly shares: readonly string[];
  /** virtiofsd processes, by share tag. */
  readonly helpers: Readonly<Record<string, ProcessIdentity>>;
}

/** Undefined when there is none. @throws VmError `bad-spec` when it cannot be read or understood. */
export function readRecord(directory: string): VmRecord | undefined {
  const path = vmPaths(directory).record;
  try {
    const record = JSON.parse(readFileSync(path, 'utf8')) as VmRecord;
    if (record.version !== 1) throw new Error(`version ${record.version} is not known to this program`);
    return record;
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw new VmError('bad-spec', `cannot read the VM record ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** Of writers that were killed: nobody else writes the record of a VM that is being stopped. */
export function removeUnfinishedRecords(directory: string): void {
  const { record } = vmPaths(directory);
  // Stopping may be asked for when the folder is gone.
  const names = existsSync(directory) ? readdirSync(directory) : [];
  for (const path of names.map((name) => join(directory, name)))
    if (path.startsWith(`${record}.`)) rmSync(path, { force: true });
}

/** Written whole or not at all: a reader never sees half a record. */
export function writeRecord(directory: string, record: VmRecord): void {
  const path = vmPaths(directory).record;
  const temporary = `${path}.${process.pid}`;
  try {
    writeFileSync(temporary, `${JSON.stringify(record, null, 2)}\n`, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}
