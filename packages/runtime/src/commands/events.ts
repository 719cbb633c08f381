import { setTimeout as sleep } from 'node:timers/promises';
import type { Container } from '@coracle/client';
import { parseDuration } from '../cli/duration.ts';
import { CliError, UsageError } from '../cli/errors.ts';
import { print } from '../cli/output.ts';
import { command } from '../command.ts';
import { checkContainerId } from '../container/ids.ts';
import { type RuncEvent, runcStats } from '../container/runc-stats.ts';
import { statusOf } from '../container/status.ts';
import { askContainer, isRpcError } from '../sandbox/agent.ts';

/** setTimeout takes no more. */
const maxIntervalMs = 2 ** 31 - 1;

/** Ends when the container has stopped, as runc's. */
export default command({
  options: {
    interval: { type: 'string', value: 'TIME', help: 'between two of the stats (default: 5s)' },
    stats: { type: 'boolean', help: "print the container's stats once and leave" },
  },
  positionals: [1, 1],
  async run({ interval = '5s', stats = false }, [id = ''], { store }) {
    const intervalMs = parseDuration(interval, 'interval');
    if (intervalMs <= 0 || intervalMs > maxIntervalMs) {
      throw new UsageError('duration interval must be greater than 0, and at most 24 days');
    }
    const state = store.read(checkContainerId(id));
    const status = statusOf(state);
    if (status === 'stopped') throw new CliError(`container with id ${id} is not running`);
    if (status === 'creating') throw new CliError(`container with id ${id} is still being created`);
    await askContainer(state, `cannot watch container ${id}`, async (container) => {
      if (stats) print(line({ type: 'stats', id, data: runcStats(await container.stats()) }));
      else await follow(container, id, intervalMs);
    });
  },
});

async function follow(container: Container, id: string, intervalMs: number): Promise<void> {
  const stop = new AbortController();
  try {
    await Promise.race([
      printOutOfMemory(container, id, stop.signal),
      printStats(container, id, intervalMs, stop.signal),
    ]);
  } finally {
    stop.abort();
  }
}

/** Returns when the container has stopped, or is removed. */
async function printOutOfMemory(container: Container, id: string, signal: AbortSignal): Promise<void> {
  try {
    let known = (await container.stats({ signal })).memory?.oomKills ?? 0n;
    while (true) {
      const { kills, stopped } = await container.outOfMemory(known, { signal });
      for (; known < kills; known++) print(line({ type: 'oom', id }));
      if (stopped) return;
    }
  } catch (error) {
    if (!isGone(error)) throw error;
  }
}

async function printStats(
  container: Container,
  id: string,
  intervalMs: number,
  signal: AbortSignal,
): Promise<void> {
  try {
    while (true) {
      await sleep(intervalMs, undefined, { signal });
      print(line({ type: 'stats', id, data: runcStats(await container.stats({ signal })) }));
    }
  } catch (error) {
    if (!signal.aborted && !isGone(error)) throw error;
  }
}

/** The container was removed, or its VM has ended with it. */
function isGone(error: unknown): boolean {
  return isRpcError(error) && (error.code === 'not_found' || error.code === 'unavailable');
}

const line = (event: RuncEvent): string => `${JSON.stringify(event)}\n`;
