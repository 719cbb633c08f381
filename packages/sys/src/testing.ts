// Helpers of this package's own tests.

import { text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { close, pipe2 } from './fd.ts';
import { waitForExit } from './process.ts';
import { type SpawnOptions, spawn } from './spawn.ts';
import { openStream } from './stream.ts';
import { decodeWaitStatus, type WaitStatus, waitPid } from './wait.ts';

export const ENV = { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LC_ALL: 'C' };

/** Waits for a condition, looking again in each turn of the event loop. */
export async function until(condition: () => boolean, deadlineMs = 5000): Promise<void> {
  const end = Date.now() + deadlineMs;
  while (!condition()) {
    if (Date.now() > end) throw new Error(`not within ${deadlineMs} ms: ${condition}`);
    await turn();
  }
}

/** Waits for a child's end and reaps it. */
export async function ended(pid: number): Promise<WaitStatus> {
  await waitForExit(pid);
  const status = waitPid(pid);
  if (status === undefined) throw new Error(`process ${pid} has ended but cannot be reaped`);
  return decodeWaitStatus(status);
}

export function shell(script: string, options: Partial<SpawnOptions> = {}): number {
  return spawn({ file: '/bin/sh', args: ['sh', '-c', script], env: ENV, descriptors: {}, ...options });
}

/** Runs a shell script; its standard output and how it ended. */
export async function run(
  script: string,
  options: Partial<SpawnOptions> = {},
): Promise<{ output: string; status: WaitStatus }> {
  const pipe = pipe2();
  const pid = shell(script, { descriptors: { 1: pipe.write, 2: pipe.write }, ...options });
  close(pipe.write);
  const [output, status] = await Promise.all([text(openStream(pipe.read)), ended(pid)]);
  return { output, status };
}
