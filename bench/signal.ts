/**
 * A signal to a process until its handler's stamp is here: alone, beside a process of the same sandbox whose
 * flood is taken by the shim, and beside one whose flood nobody reads. In the VM and, with the same agent as a
 * process of this host, by the local driver.
 */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Container, type ContainerProcess, Coracle, type Sandbox } from '@coracle/client';
import { createLocalDriver } from '@coracle/vm';
import { type Flood, floodRead, floodUnread } from './flood.ts';
import type { Place } from './place.ts';
import type { Row } from './report.ts';
import { median, quantile } from './statistics.ts';

/** Taken in turns, so that what else the machine does falls on each alike. */
const TURNS = 4;
/** Not a fixed beat, with which some timer of the chain could agree. */
const PAUSE_MS = { least: 10, spread: 10 } as const;
const agentEntry = path.join(path.dirname(import.meta.dirname), 'dist/agent/agent.js');

/**
 * Waits for SIGUSR1 with the signal blocked until then: one that comes between two system calls is not missed.
 * Perl is part of every Debian.
 */
const STAMPER = [
  'perl',
  '-MPOSIX',
  '-e',
  'sigprocmask(SIG_BLOCK, POSIX::SigSet->new(SIGUSR1)); $SIG{USR1} = sub { syswrite STDOUT, "s" };' +
    ' syswrite STDOUT, "r"; sigsuspend(POSIX::SigSet->new) while 1',
];

interface Chain {
  readonly name: string;
  readonly proxySocket: string;
  readonly sandbox: Sandbox;
  readonly container: Container;
}

export async function benchSignal(
  place: Place,
  sandbox: Sandbox,
  container: Container,
  signals: number,
): Promise<Row[]> {
  const { proxySocket } = place;
  const inVm = await measure({ name: 'VM', proxySocket, sandbox, container }, signals);
  const bundle = place.bundle('signal-local', ['sleep', '1000000']);
  const coracle = new Coracle({ proxy: proxySocket, sandboxes: place.sandboxes });
  await using local = await coracle.startSandbox({
    vm: createLocalDriver({ agentEntry }),
    shares: [{ tag: 'host', binds: [{ name: 'rootfs', source: place.rootfs }] }],
  });
  const inLocal = await local.createContainer({
    id: 'signal',
    config: JSON.parse(readFileSync(path.join(bundle, 'config.json'), 'utf8')),
    rootfs: { share: 'host', path: 'rootfs' },
  });
  await inLocal.start();
  return [
    ...inVm,
    ...(await measure({ name: 'local', proxySocket, sandbox: local, container: inLocal }, signals)),
  ];
}

async function measure({ name, proxySocket, sandbox, container }: Chain, signals: number): Promise<Row[]> {
  const process = await container.exec({ args: STAMPER });
  await once(process.stdout, 'data');
  const each = Math.ceil(signals / TURNS);
  await stamps(process, 10);
  const [idle, read, unread, rates]: [number[], number[], number[], number[]] = [[], [], [], []];
  const beside = async (flood: Flood, samples: number[]): Promise<void> => {
    samples.push(...(await stamps(process, each)));
    rates.push(flood.rate());
    await flood.end();
  };
  for (let turn = 0; turn < TURNS; turn++) {
    idle.push(...(await stamps(process, each)));
    await beside(await floodRead(proxySocket, sandbox, container), read);
    await beside(await floodUnread(container), unread);
  }
  process.signal('SIGKILL');
  await process.wait();
  const rate = median(rates.filter((each) => each > 0)).toFixed(0);
  return [
    { name: `signal, idle, ${name}`, unit: 'ms', samples: idle, note: `p99 ${p99(idle).toFixed(1)} ms` },
    ...underFlood(`signal, flood of ${rate} MB/s read, ${name}`, read, idle),
    ...underFlood(`signal, flood unread, ${name}`, unread, idle),
  ];
}

function underFlood(name: string, samples: readonly number[], idle: readonly number[]): Row[] {
  const row = (title: string, of: readonly number[], than: readonly number[]): Row => ({
    name: title,
    unit: 'ms',
    samples: of,
    baseline: { name: 'idle', samples: than },
    target: { text: '≤ 2 × idle', atMost: 2 * median(than) },
  });
  return [row(name, samples, idle), row('  p99', [p99(samples)], [p99(idle)])];
}

const p99 = (samples: readonly number[]): number => quantile(samples, 0.99);

async function stamps(process: ContainerProcess, count: number): Promise<number[]> {
  const samples: number[] = [];
  for (let i = 0; i < count; i++) {
    const stamp = once(process.stdout, 'data');
    const start = performance.now();
    process.signal('SIGUSR1');
    await stamp;
    samples.push(performance.now() - start);
    await sleep(PAUSE_MS.least + Math.random() * PAUSE_MS.spread);
  }
  return samples;
}
