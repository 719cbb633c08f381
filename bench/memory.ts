/** Resident memory: the shim, the proxy with ten sandboxes' links, the agent in a guest. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type Container, Coracle, type Sandbox } from '@coracle/client';
import { createLocalDriver } from '@coracle/vm';
import { exitOf, type Place } from './place.ts';
import type { Row } from './report.ts';

const root = path.dirname(import.meta.dirname);
const SANDBOXES = 10;

export async function benchMemory(place: Place, sandbox: Sandbox, container: Container): Promise<Row[]> {
  const shim = await shimMemory(place, container);
  const { residentBytes } = await sandbox.details();
  const proxy = await proxyMemory(place);
  return [
    {
      name: 'shim, while it forwards a flood',
      unit: 'KiB',
      samples: [shim.peakKib],
      target: { text: '< 1 MiB', atMost: 1023 },
      note: `VmHWM; VmRSS ${shim.residentKib} KiB`,
    },
    {
      name: `proxy, ${SANDBOXES} sandboxes with traffic`,
      unit: 'MiB',
      samples: [proxy.residentKib / 1024],
      target: { text: '< 80 MiB', atMost: 80 },
      note: `VmRSS after 16 MiB from each, with the local driver; VmHWM ${(proxy.peakKib / 1024).toFixed(0)} MiB`,
    },
    { name: 'agent in the guest', unit: 'MiB', samples: [residentBytes / 1024 / 1024] },
  ];
}

async function shimMemory(place: Place, container: Container): Promise<Memory> {
  const command = place.spawn(['exec', container.id, 'cat', '/dev/zero'], ['ignore', 'pipe', 'inherit']);
  let seen = 0;
  await new Promise<void>((resolve, reject) => {
    command.stdout?.on('data', (chunk: Buffer) => {
      seen += chunk.length;
      if (seen > 16 * 1024 * 1024) resolve();
    });
    command.once('exit', () => reject(new Error('the flood ended')));
  });
  const pid = Number(
    readFileSync(`/proc/${command.pid}/task/${command.pid}/children`, 'utf8').trim().split(' ')[0],
  );
  const found = memoryOf(pid);
  const ended = exitOf(command);
  command.kill('SIGTERM');
  await ended;
  return found;
}

/** A proxy of its own with agents of the local driver, a container each. */
async function proxyMemory(place: Place): Promise<Memory> {
  const run = path.join(place.folder, 'ten');
  const socketPath = path.join(run, 'proxy.sock');
  const sandboxes = path.join(run, 'sandboxes');
  const proxy = spawn(
    path.join(root, 'bin/coracle-proxy'),
    ['--socket', socketPath, '--sandboxes', sandboxes, '--log-level', 'warn'],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  await using undo = new AsyncDisposableStack();
  undo.defer(async () => {
    const ended = exitOf(proxy);
    proxy.kill('SIGTERM');
    await ended;
  });
  // Its one word on stdout is `ready`.
  await once(proxy.stdout, 'data');
  const coracle = new Coracle({ proxy: socketPath });
  const vm = createLocalDriver({ agentEntry: path.join(root, 'dist/agent/agent.js') });
  const bundle = place.bundle('ten', ['sleep', '1000']);
  const config = JSON.parse(readFileSync(path.join(bundle, 'config.json'), 'utf8'));
  for (let i = 0; i < SANDBOXES; i++) {
    const sandbox = await coracle.startSandbox({
      vm,
      id: `ten-${i}`,
      shares: [{ tag: 'host', binds: [{ name: 'rootfs', source: place.rootfs }] }],
    });
    undo.use(sandbox);
    const container = await sandbox.createContainer({
      id: 'c',
      config,
      rootfs: { share: 'host', path: 'rootfs' },
    });
    await container.start();
    const flood = await container.exec({ args: ['head', '-c', String(16 * 1024 * 1024), '/dev/zero'] });
    flood.stdout.resume();
    await flood.wait();
  }
  return memoryOf(proxy.pid as number);
}

interface Memory {
  readonly residentKib: number;
  readonly peakKib: number;
}

/** proc(5), status. */
function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const field = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]);
  return { residentKib: field('VmRSS'), peakKib: field('VmHWM') };
}
