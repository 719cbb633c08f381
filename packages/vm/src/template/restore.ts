/** Starting a VM from a template: its memory as a file for QEMU to map, its devices as a stream for QEMU to read. */
import { closeSync, openSync } from 'node:fs';
import { createMemoryFile } from '@coracle/sys';
import type { QemuDevice, ShareTransport } from '../command.ts';
import { Qmp } from '../qmp.ts';
import { copyMemory } from './memory.ts';
import { leaveMemoryOut, migrated } from './migration.ts';
import type { Template } from './store.ts';

export interface OpenTemplate extends Disposable {
  readonly key: string;
  /** For QEMU: memory and devices, as its descriptors 3 and 4. */
  readonly descriptors: readonly number[];
  readonly memory: { readonly path: string; readonly share: boolean };
}

/**
 * A VM with a virtiofsd has memory that both QEMU and the virtiofsd write: it gets a copy of its own. Otherwise QEMU
 * maps the template's file privately: pages that a guest does not write are the same for all VMs of the host.
 */
export function openTemplate(
  { key, ram, state, record }: Template,
  shares: ShareTransport | 'none',
): OpenTemplate {
  const copied = shares === 'virtiofs';
  const descriptors: number[] = [];
  const close = () => {
    for (const fd of descriptors.splice(0)) closeSync(fd);
  };
  try {
    descriptors.push(copied ? copyOf(ram, record) : openSync(ram, 'r'));
    descriptors.push(openSync(state, 'r'));
  } catch (error) {
    close();
    throw error;
  }
  return { key, descriptors, memory: { path: '/proc/self/fd/3', share: copied }, [Symbol.dispose]: close };
}

function copyOf(ram: string, { memoryBytes, extents }: Template['record']): number {
  const from = openSync(ram, 'r');
  try {
    const copy = createMemoryFile('coracle-ram');
    copyMemory(from, copy, memoryBytes, extents);
    return copy;
  } finally {
    closeSync(from);
  }
}

/**
 * For a QEMU that was started with `-incoming defer`: has it read descriptor 4, adds devices, and lets the VM go on. The
 * guest finds them when it looks for them (CreateSandbox).
 */
export async function resumeFromTemplate(
  qmpPath: string,
  devices: readonly QemuDevice[],
  signal: AbortSignal | undefined,
): Promise<void> {
  using qmp = await Qmp.connect(qmpPath, { signal });
  await leaveMemoryOut(qmp);
  await qmp.execute('migrate-incoming', { uri: 'fd:4' });
  await migrated(qmp, 'restore', signal);
  for (const device of devices) await qmp.execute('device_add', device);
  await qmp.cont();
}
