/** A process that writes as fast as it can, and somebody who takes all of it, or nobody who takes anything. */
import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Container, Sandbox } from '@coracle/client';
import { exitOf } from './place.ts';

const shim = path.join(path.dirname(import.meta.dirname), 'bin/coracle-shim');
const FLOOD = ['cat', '/dev/zero'];
/** So much has passed when the flood counts as one. */
const FLOWING_BYTES = 4_000_000;
const DEADLINE_MS = 30_000;

export interface Flood {
  /** MB/s so far. */
  rate(): number;
  end(): Promise<void>;
}

/** The shim delivers to /dev/null, as fast as any reader could take it, and beside this program. */
export async function floodRead(proxySocket: string, sandbox: Sandbox, container: Container): Promise<Flood> {
  const { handle } = await container.exec({ args: FLOOD, attach: false });
  const child = spawn(
    shim,
    [
      ...['--socket', proxySocket, '--sandbox', sandbox.id],
      ...['--process', String(handle.process), '--name', 'flood'],
    ],
    {
      env: { CORACLE_TOKEN: Buffer.from(handle.token).toString('hex') },
      stdio: ['ignore', 'ignore', 'inherit'],
    },
  );
  await until(() => written(child) > FLOWING_BYTES, 'the flood is a trickle');
  const [from, start] = [written(child), performance.now()];
  return {
    rate: () => (written(child) - from) / 1e3 / (performance.now() - start),
    end: async () => {
      const ended = exitOf(child);
      // Handed on to the flooding process, whose end is the shim's.
      child.kill('SIGTERM');
      await ended;
    },
  };
}

/** The library takes what one window and the stream's own buffer hold, and then the process waits in its write. */
export async function floodUnread(container: Container): Promise<Flood> {
  const process = await container.exec({ args: FLOOD });
  await until(() => process.stdout.readableLength > 0, 'the flood did not begin');
  return {
    rate: () => 0,
    end: async () => {
      process.signal('SIGKILL');
      process.stdout.resume();
      await process.wait();
    },
  };
}

/** Bytes that the child has written to all its descriptors (proc(5), io). */
function written(child: ChildProcess): number {
  return Number(/^wchar: (\d+)$/m.exec(readFileSync(`/proc/${child.pid}/io`, 'latin1'))?.[1] ?? 0);
}

async function until(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what} after ${DEADLINE_MS / 1000} s`);
    await sleep(10);
  }
}
