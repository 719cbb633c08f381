/** Being told of kills for want of memory. Nothing is polled: the kernel reports changes of memory.events. */
import { readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import { flatKeyed } from './cgroup-stats.ts';

/** How many processes of a cgroup the kernel has killed for want of memory so far; 0 when it is gone. */
export function oomKills(folder: string): number {
  try {
    return Number(flatKeyed(readFileSync(join(folder, 'memory.events'), 'latin1')).get('oom_kill') ?? 0n);
  } catch {
    return 0;
  }
}

/**
 * Resolves with the number of kills when there are more than `known`.
 * @throws the signal's reason; what watch(2) says of a cgroup that is gone
 */
export function moreOomKills(folder: string, known: number, signal: AbortSignal): Promise<number> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    // cgroup-v2.rst, memory.events: "a value change in this file generates a file modified event".
    const watcher = watch(join(folder, 'memory.events'), { signal });
    const look = (): void => {
      const kills = oomKills(folder);
      if (kills <= known) return;
      watcher.close();
      resolve(kills);
    };
    watcher.on('change', look).on('error', reject);
    signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
    // What came between the caller's last answer and the watch.
    look();
  });
}
