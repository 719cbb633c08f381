/** Starting a VM from a template: its memory as a file for QEMU to map, its devices as a stream for QEMU to read. */
import { closeSync, ftruncateSync, openSync } from 'node:fs';
import { createMemoryFile } from '@coracle/sys';
import type { Plugged } from '../command.ts';
import { Qmp } from '../qmp.ts';
import { copyMemory } from './memory.ts';
import { leaveMemoryOut, migrated } from './migration.ts';
import type { Template } from './store.ts';

/**
 * A VM with a virtiofsd has memory that both QEMU and the virtiofsd write: it gets a copy of its own. Otherwise QEMU
 * maps the template's file privately: pages that a guest does not write are the same for all VMs of the host.
 */
export function templateMemory(copied: boolean): { path: string; share: boolean } {
  return { path: '/proc/self/fd/3', share: copied };
}

export interface OpenTemplate extends Disposable {
  /** For QEMU: memory and devices, as its descriptors 3 and 4. */
  readonly descriptors: readonly number[];
  /** Puts the memory in its place. QEMU reads none of it before the VM goes on, so it can start meanwhile. */
  load(): void;
}

/** @param copied whether the VM gets a memory of its own */
export function openTemplate({ ram, state, record }: Template, copied: boolean): OpenTemplate {
  const descriptors: number[] = [];
  const close = () => {
    for (const fd of descriptors.splice(0)) closeSync(fd);
  };
  try {
    descriptors.push(copied ? createMemoryFile('coracle-ram') : openSync(ram, 'r'));
    if (copied) ftruncateSync(descriptors[0]!, record.memoryBytes);
    descriptors.push(openSync(state, 'r'));
  } catch (error) {
    close();
    throw error;
  }
  return {
    descriptors,
    load() {
      if (!copied) return;
      const from = openSync(ram, 'r');
      try {
        copyMemory(from, descriptors[0]!, record.memoryBytes, record.extents);
      } finally {
        closeSync(from);
      }
    },
    [Symbol.dispose]: close,
  };
}

/**
 * For a QEMU that was started with `-incoming defer`: has it read descriptor 4, adds devices, and lets the VM go on. The
 * guest finds them when it looks for them (CreateSandbox).
 * @param helpers resolves when the sockets can be connected to
 */
export async function resumeFromTemplate(
  qmpPath: string,
  plugged: readonly Plugged[],
  helpers: Promise<unknown>,
  signal: AbortSignal | undefined,
): Promise<void> {
  using qmp = await Qmp.connect(qmpPath, { signal });
  await leaveMemoryOut(qmp);
  await qmp.execute('migrate-incoming', { uri: 'fd:4' });
  await migrated(qmp, 'restore', signal);
  await helpers;
  await plug(qmp, plugged);
  await qmp.cont();
}

/** The guest finds them when it looks for them (CreateSandbox). */
export async function plug(qmp: Qmp, plugged: readonly Plugged[]): Promise<void> {
  for (const { device, socket } of plugged) {
    if (socket !== undefined) {
      const addr = { type: 'unix', data: { path: socket.path } };
      const backend = { type: 'socket', data: { addr, server: false } };
      await qmp.execute('chardev-add', { id: socket.id, backend });
    }
    await qmp.execute('device_add', device);
  }
}
