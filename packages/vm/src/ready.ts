import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import type { Detached } from './detached.ts';
import { VmError } from './errors.ts';

/** From the start of a process to its socket. Milliseconds, unless the host is swapping. */
export const processStartTimeoutMs = 30_000;

/**
 * Waits until `ready` says so, the process ends, or the time is over.
 * @throws VmError `start-failed`, with the process's log when `logPath` is given; the signal's reason
 */
export async function waitReady(
  process: Detached,
  ready: () => boolean | Promise<boolean>,
  what: string,
  logPath: string | undefined,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { child } = process;
  const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : Promise.resolve();
  let ended = false;
  void gone.then(() => {
    ended = true;
  });
  const deadline = performance.now() + processStartTimeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    try {
      if (await ready()) return;
    } catch (error) {
      // QEMU died under the question: its exit tells more than the broken connection.
      if (!ended) await Promise.race([gone, delay(100)]);
      if (!ended) throw error;
    }
    if (ended) {
      const how = child.signalCode === null ? `with code ${child.exitCode}` : `by ${child.signalCode}`;
      const log = logPath === undefined ? '' : `: ${readFileSync(logPath, 'utf8').trim()}`;
      throw new VmError('start-failed', `${what} ended at its start ${how}${log}`);
    }
    if (performance.now() > deadline) {
      throw new VmError('start-failed', `${what} was not ready within ${processStartTimeoutMs} ms`);
    }
    await delay(2);
  }
}
