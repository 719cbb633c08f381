/**
 * `network.json` in a container's state folder: what was done to its network namespace, so that it can be undone when the VM, or
 * whoever started it, is gone; and what the guest was told last, so that nothing is done when nothing has changed.
 */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import type { SandboxNetwork } from '@coracle/client';
import { errnoCode } from '../cli/errors.ts';
import type { NamesProcesses } from './names.ts';

export interface NetworkRecord {
  readonly version: 1;
  /** Indexes of interfaces that are, or were about to be, redirected to a tap. */
  readonly redirected: readonly number[];
  /** Undefined until the guest has it all. */
  readonly told?: SandboxNetwork;
  /** Who asks Docker's name server for the guest. */
  readonly names?: NamesProcesses;
}

/** Undefined when there is none; so is one that was not understood: all is done anew then. */
export function readNetworkRecord(path: string): NetworkRecord | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') return undefined;
    throw error;
  }
  const record = JSON.parse(text) as NetworkRecord;
  return record.version === 1 ? record : undefined;
}

/** Written whole or not at all. */
export function writeNetworkRecord(path: string, record: NetworkRecord): void {
  const temporary = `${path}.new`;
  writeFileSync(temporary, `${JSON.stringify(record)}\n`, { mode: 0o600 });
  renameSync(temporary, path);
}
