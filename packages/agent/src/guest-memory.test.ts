import { expect, test } from 'vitest';
import { parseGuestMemory } from './guest-memory.ts';

const meminfo = `MemTotal:         237400 kB
MemFree:          160000 kB
MemAvailable:     178000 kB
Buffers:             100 kB
Cached:             5000 kB
AnonPages:         40000 kB
Shmem:              1000 kB
Slab:              12000 kB
KernelStack:         900 kB
PageTables:          800 kB
SecPageTables:         0 kB
HugePages_Total:       0
`;
const status = `Name:\tnode
VmRSS:\t   61000 kB
RssAnon:\t   31000 kB
RssFile:\t   30000 kB
`;

// Guards against a details() that failed: -12 KiB is no uint64. A guest with nothing but a mapped root has no page cache.
test('more shmem than cached is no page cache', () => {
  const small = meminfo.replace(/Cached: .*/, 'Cached: 888 kB');
  expect(parseGuestMemory(small, status).pageCacheBytes).toBe(0n);
});

test('counts what is used for what; shmem is no page cache', () => {
  const kib = (amount: number): bigint => BigInt(amount) * 1024n;
  expect(parseGuestMemory(meminfo, status)).toEqual({
    totalBytes: kib(237400),
    freeBytes: kib(160000),
    availableBytes: kib(178000),
    pageCacheBytes: kib(4100),
    slabBytes: kib(12000),
    kernelStacksAndPageTablesBytes: kib(1700),
    anonymousBytes: kib(40000),
    shmemBytes: kib(1000),
    agentAnonymousBytes: kib(31000),
    agentFileBytes: kib(30000),
  });
});
