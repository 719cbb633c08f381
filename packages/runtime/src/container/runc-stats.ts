/** What a container uses, in the form of `runc events` (types/events.go there, 1.1). */
import type { ContainerStats } from '@coracle/client';

// ECMAScript proposal "JSON.parse source text access", in V8 since 11.4; TypeScript does not know it yet.
const { rawJSON } = JSON as typeof JSON & { rawJSON(text: string): object };
/** Counters have 64 bits. */
const count = (value: bigint | undefined) => rawJSON(String(value ?? 0n));
/** What runc says for "no limit" where it reads cgroup v2. */
const noLimit = 2n ** 64n - 1n;
const nsPerUs = 1000n;

export type RuncEvent = { readonly type: 'stats' | 'oom'; readonly id: string; readonly data?: object };

/** The cgroup is the guest's and of version 2, so what only version 1 counts is 0 or absent, as with runc there. */
export function runcStats({ cpu, memory, pids, io }: ContainerStats): object {
  const swap = (memory?.usageBytes ?? 0n) + (memory?.swapUsageBytes ?? 0n);
  const swapLimit =
    memory?.swapLimitBytes === undefined || memory.limitBytes === undefined
      ? noLimit
      : memory.limitBytes + memory.swapLimitBytes;
  return {
    cpu: {
      usage: {
        total: count((cpu?.usageUs ?? 0n) * nsPerUs),
        kernel: count((cpu?.systemUs ?? 0n) * nsPerUs),
        user: count((cpu?.userUs ?? 0n) * nsPerUs),
      },
      throttling: {
        periods: count(cpu?.periods),
        throttledPeriods: count(cpu?.throttledPeriods),
        throttledTime: count((cpu?.throttledUs ?? 0n) * nsPerUs),
      },
    },
    cpuset: {
      cpu_exclusive: 0,
      mem_hardwall: 0,
      mem_exclusive: 0,
      memory_migrate: 0,
      memory_spread_page: 0,
      memory_spread_slab: 0,
      memory_pressure: 0,
      sched_load_balance: 0,
      sched_relax_domain_level: 0,
    },
    memory: {
      cache: count(memory?.details.file),
      usage: {
        limit: count(memory?.limitBytes ?? noLimit),
        usage: count(memory?.usageBytes),
        max: count(memory?.peakBytes),
        failcnt: count(memory?.limitHits),
      },
      swap: { limit: count(swapLimit), usage: count(swap), failcnt: 0 },
      kernel: { limit: 0, failcnt: 0 },
      kernelTCP: { limit: 0, failcnt: 0 },
      raw: Object.fromEntries(
        Object.entries(memory?.details ?? {}).map(([name, value]) => [name, count(value)]),
      ),
    },
    pids: { current: count(pids?.current), limit: count(pids?.limit) },
    blkio: {
      ioServiceBytesRecursive: io.flatMap(({ major, minor, readBytes, writtenBytes, discardedBytes }) => [
        { major, minor, op: 'Read', value: count(readBytes) },
        { major, minor, op: 'Write', value: count(writtenBytes) },
        { major, minor, op: 'Discard', value: count(discardedBytes) },
      ]),
      ioServicedRecursive: io.flatMap(({ major, minor, reads, writes, discards }) => [
        { major, minor, op: 'Read', value: count(reads) },
        { major, minor, op: 'Write', value: count(writes) },
        { major, minor, op: 'Discard', value: count(discards) },
      ]),
    },
    hugetlb: {},
    intel_rdt: {},
    network_interfaces: null,
  };
}
