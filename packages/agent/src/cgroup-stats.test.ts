import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { cgroupStats } from './cgroup-stats.ts';

test('a cgroup, as the kernel writes it, and one whose files are missing', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cgroup-'));
  try {
    const files: Record<string, string> = {
      'cpu.stat':
        'usage_usec 300\nuser_usec 200\nsystem_usec 100\nnr_periods 5\nnr_throttled 2\nthrottled_usec 9\n',
      'memory.current': '4096\n',
      'memory.max': 'max\n',
      'memory.peak': '8192\n',
      'memory.swap.current': '0\n',
      'memory.swap.max': '18446744073709551615\n',
      'memory.events': 'low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n',
      'memory.stat': 'anon 1\nfile 2\n',
      'pids.current': '3\n',
      'pids.max': '100\n',
      'io.stat': '254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:16 \n',
    };
    for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
    expect(cgroupStats(folder)).toEqual({
      cpu: {
        usageUs: 300n,
        userUs: 200n,
        systemUs: 100n,
        periods: 5n,
        throttledPeriods: 2n,
        throttledUs: 9n,
      },
      memory: {
        usageBytes: 4096n,
        limitBytes: undefined,
        peakBytes: 8192n,
        swapUsageBytes: 0n,
        swapLimitBytes: 18446744073709551615n,
        limitHits: 3n,
        oomKills: 2n,
        details: { anon: 1n, file: 2n },
      },
      pids: { current: 3n, limit: 100n },
      io: [
        {
          major: 254,
          minor: 0,
          readBytes: 1n,
          writtenBytes: 2n,
          reads: 3n,
          writes: 4n,
          discardedBytes: 5n,
          discards: 6n,
        },
      ],
    });
    expect(cgroupStats(join(folder, 'gone'))).toMatchObject({
      memory: { usageBytes: 0n, limitBytes: undefined },
      pids: { current: 0n, limit: undefined },
      io: [],
    });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
