/** What of the guest's memory is used for what (proc(5): /proc/meminfo, /proc/PID/status). */
import { readFileSync } from 'node:fs';
import type { GuestMemory } from '@coracle/wire';
import { log, reasonOf } from './log.ts';

export function guestMemory(): GuestMemory | undefined {
  try {
    return parseGuestMemory(
      readFileSync('/proc/meminfo', 'latin1'),
      readFileSync('/proc/self/status', 'latin1'),
    );
  } catch (error) {
    log('warn', "the guest's memory cannot be told", { reason: reasonOf(error) });
    return undefined;
  }
}

export function parseGuestMemory(meminfo: string, status: string): GuestMemory {
  const memory = kibibytes(meminfo);
  const agent = kibibytes(status);
  const bytes = (from: ReadonlyMap<string, number>, ...names: string[]): bigint =>
    BigInt(names.reduce((sum, name) => sum + (from.get(name) ?? 0), 0)) * 1024n;
  const cached = bytes(memory, 'Cached', 'Buffers');
  const shmem = bytes(memory, 'Shmem');
  return {
    totalBytes: bytes(memory, 'MemTotal'),
    freeBytes: bytes(memory, 'MemFree'),
    availableBytes: bytes(memory, 'MemAvailable'),
    // The kernel counts shmem among the cached, each for itself and not at the same moment.
    pageCacheBytes: cached > shmem ? cached - shmem : 0n,
    slabBytes: bytes(memory, 'Slab'),
    kernelStacksAndPageTablesBytes: bytes(memory, 'KernelStack', 'PageTables', 'SecPageTables'),
    anonymousBytes: bytes(memory, 'AnonPages'),
    shmemBytes: shmem,
    agentAnonymousBytes: bytes(agent, 'RssAnon'),
    agentFileBytes: bytes(agent, 'RssFile'),
  };
}

function kibibytes(text: string): Map<string, number> {
  return new Map(
    [...text.matchAll(/^(\w+):\s+(\d+) kB$/gm)].map(([, name, amount]) => [name as string, Number(amount)]),
  );
}
