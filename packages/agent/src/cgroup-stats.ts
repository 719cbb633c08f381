/** What a cgroup v2 counts (Linux Documentation/admin-guide/cgroup-v2.rst), as StatsContainer answers. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { IoStats, StatsContainerResponse } from '@coracle/wire';

/**
 * @param folder of the cgroup
 * @returns zeros for files that are not there: a controller that the kernel lacks, a cgroup that is just removed
 */
export function cgroupStats(folder: string): StatsContainerResponse {
  const read = (name: string): string => {
    try {
      return readFileSync(join(folder, name), 'latin1');
    } catch {
      return '';
    }
  };
  const cpu = flatKeyed(read('cpu.stat'));
  const events = flatKeyed(read('memory.events'));
  return {
    cpu: {
      usageUs: cpu.get('usage_usec') ?? 0n,
      userUs: cpu.get('user_usec') ?? 0n,
      systemUs: cpu.get('system_usec') ?? 0n,
      periods: cpu.get('nr_periods') ?? 0n,
      throttledPeriods: cpu.get('nr_throttled') ?? 0n,
      throttledUs: cpu.get('throttled_usec') ?? 0n,
    },
    memory: {
      usageBytes: single(read('memory.current')) ?? 0n,
      limitBytes: single(read('memory.max')),
      peakBytes: single(read('memory.peak')) ?? 0n,
      swapUsageBytes: single(read('memory.swap.current')) ?? 0n,
      swapLimitBytes: single(read('memory.swap.max')),
      limitHits: events.get('max') ?? 0n,
      oomKills: events.get('oom_kill') ?? 0n,
      details: Object.fromEntries(flatKeyed(read('memory.stat'))),
    },
    pids: { current: single(read('pids.current')) ?? 0n, limit: single(read('pids.max')) },
    io: parseIoStat(read('io.stat')),
  };
}

/** One number; undefined for `max` and for nothing. */
function single(text: string): bigint | undefined {
  return /^\d+$/.test(text.trim()) ? BigInt(text.trim()) : undefined;
}

/** Lines of `NAME NUMBER`. */
export function flatKeyed(text: string): Map<string, bigint> {
  return new Map([...text.matchAll(/^(\S+) (\d+)$/gm)].map(([, name, count]) => [name!, BigInt(count!)]));
}

/** Lines such as `254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`. */
export function parseIoStat(text: string): IoStats[] {
  return [...text.matchAll(/^(\d+):(\d+) (.+)$/gm)].map(([, major, minor, rest]) => {
    const counts = new Map([...rest!.matchAll(/(\w+)=(\d+)/g)].map(([, name, n]) => [name!, BigInt(n!)]));
    const count = (name: string): bigint => counts.get(name) ?? 0n;
    return {
      major: Number(major),
      minor: Number(minor),
      readBytes: count('rbytes'),
      writtenBytes: count('wbytes'),
      reads: count('rios'),
      writes: count('wios'),
      discardedBytes: count('dbytes'),
      discards: count('dios'),
    };
  });
}
