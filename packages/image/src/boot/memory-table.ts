/** What a VM takes, part by part: seen from inside the guest, and from the host. */
import { formatBytes, style, table } from '../commands/text.ts';
import type { BootReport, VmMemory } from './boot-image.ts';
import { mappingKinds } from './host-memory.ts';
import { median } from './phases.ts';

export interface Part {
  readonly name: string;
  readonly bytes: number;
}

/** They add up to the RAM that QEMU gives the guest. */
export function guestParts(guest: VmMemory['guest'], vmMemoryBytes: number): Part[] {
  const { totalBytes, freeBytes, pageCacheBytes, slabBytes, anonymousBytes, shmemBytes } = guest;
  const tables = guest.kernelStacksAndPageTablesBytes;
  const named = freeBytes + pageCacheBytes + slabBytes + tables + anonymousBytes + shmemBytes;
  return [
    { name: 'kernel image, descriptions of pages', bytes: vmMemoryBytes - totalBytes },
    { name: 'slab', bytes: slabBytes },
    { name: 'kernel stacks, page tables', bytes: tables },
    { name: 'per CPU, vmalloc, device buffers', bytes: totalBytes - named },
    { name: 'agent (Node), its own pages', bytes: guest.agentAnonymousBytes },
    { name: 'other processes', bytes: Math.max(0, anonymousBytes - guest.agentAnonymousBytes) },
    { name: 'tmpfs', bytes: shmemBytes },
    { name: 'page cache', bytes: pageCacheBytes },
    { name: 'free', bytes: freeBytes },
  ];
}

/** Page cache is given back when somebody needs it, so it does not count; `available` is the kernel's own estimate. */
export function guestInUse(guest: VmMemory['guest']): { withoutCache: number; notAvailable: number } {
  return {
    withoutCache: guest.totalBytes - guest.freeBytes - guest.pageCacheBytes,
    notAvailable: guest.totalBytes - guest.availableBytes,
  };
}

export function memoryLines({ memory = [], vmMemoryBytes, manifest }: BootReport): string[] {
  const first = memory[0];
  if (first === undefined) return [];
  const inUse = guestInUse(first.guest);
  const mapped = manifest.root.filesystem !== 'initramfs' && manifest.root.device === 'pmem';
  return [
    style('bold', `Guest, idle: ${formatBytes(vmMemoryBytes)} of RAM`),
    ...table(
      guestParts(first.guest, vmMemoryBytes).map(({ name, bytes }) => [`  ${name}`, formatBytes(bytes)]),
      [1],
    ),
    `  in use: ${formatBytes(inUse.notAvailable)} (MemTotal − MemAvailable), ${formatBytes(inUse.withoutCache)} (MemTotal − MemFree − page cache)`,
    mapped
      ? '  the root is mapped from the host: what the agent has of it is not in guest RAM'
      : `  the agent's files: ${formatBytes(first.guest.agentFileBytes)} resident, in the page cache`,
    '',
    style('bold', `Host: QEMU's memory${memory.length > 1 ? `, medians of ${memory.length} VMs` : ''}`),
    ...hostLines(memory),
    ...(mapped && memory.length > 1
      ? [describeShared(memory)]
      : mapped
        ? []
        : ['  nothing of the image is shared: each guest reads its own copy into its page cache']),
  ];
}

function hostLines(memory: readonly VmMemory[]): string[] {
  const of = (kind: string, what: 'residentBytes' | 'proportionalBytes'): number =>
    median(memory.map(({ host }) => host.find((one) => one.kind === kind)?.[what] ?? 0));
  const row = (kind: string): string[] => [
    `  ${kind}`,
    formatBytes(of(kind, 'residentBytes')),
    formatBytes(of(kind, 'proportionalBytes')),
  ];
  const sum = (what: 'residentBytes' | 'proportionalBytes'): string =>
    formatBytes(median(memory.map(({ host }) => host.reduce((bytes, one) => bytes + one[what], 0))));
  return table(
    [
      ['', 'RSS', 'PSS'],
      ...mappingKinds.map(row),
      ['  a VM', sum('residentBytes'), sum('proportionalBytes')],
    ],
    [1, 2],
  );
}

/** What all VMs map, less what that costs the host. */
export function sharedImage(memory: readonly VmMemory[]): { mappedBytes: number; costBytes: number } {
  const roots = memory.flatMap(({ host }) => host.filter(({ kind }) => kind === 'root image'));
  return {
    mappedBytes: roots.reduce((sum, { residentBytes }) => sum + residentBytes, 0),
    costBytes: roots.reduce((sum, { proportionalBytes }) => sum + proportionalBytes, 0),
  };
}

function describeShared(memory: readonly VmMemory[]): string {
  const { mappedBytes, costBytes } = sharedImage(memory);
  return `  of the root image ${memory.length} VMs map ${formatBytes(mappedBytes)}, which cost ${formatBytes(costBytes)}: ${formatBytes(mappedBytes - costBytes)} are shared`;
}
