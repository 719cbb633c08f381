/** The faults that the saboteur knows. Each breaks something and mends only what nobody else would mend. */
import { setTimeout as delay } from 'node:timers/promises';
import { linkPortName, type Qmp } from '@coracle/vm';
import { type DriverName, killPid, until } from '../contract/place.ts';
import type { World } from './world.ts';

export interface Injected {
  readonly target: string;
  /** performance.now() of when the fault was over, or had struck: from here on recovery counts. */
  readonly at: number;
}

export interface FaultKind {
  readonly name: string;
  /** How many proxies it kills. */
  readonly kills: number;
  readonly drivers: readonly DriverName[];
  inject(world: World, random: () => number): Promise<Injected>;
}

const both = ['local', 'qemu'] as const;
const vm = ['qemu'] as const;

async function proxy(world: World): Promise<number> {
  let pid = world.proxyPid();
  await until(() => {
    pid ??= world.proxyPid();
    return pid !== undefined;
  }, 'a proxy listens');
  return pid!;
}

/** kill -9 of the proxy. @returns when; resolves when another one listens */
async function killProxy(world: World, thenWait = true): Promise<Injected> {
  const pid = await proxy(world);
  killPid(pid, 'SIGKILL');
  const at = performance.now();
  if (thenWait)
    await until(() => {
      const now = world.proxyPid();
      return now !== undefined && now !== pid;
    }, 'another proxy listens');
  return { target: `proxy ${pid}`, at };
}

const between = (random: () => number, low: number, high: number): number => low + random() * (high - low);
const pick = <T>(random: () => number, from: readonly T[]): T => from[Math.floor(random() * from.length)]!;

/** Stops a process for a while. */
async function stopFor(pid: number, ms: number, meanwhile?: () => Promise<unknown>): Promise<number> {
  killPid(pid, 'SIGSTOP');
  try {
    await meanwhile?.();
    await delay(ms);
  } finally {
    killPid(pid, 'SIGCONT');
  }
  return performance.now();
}

async function pauseVm(world: World, ms: number, meanwhile?: () => Promise<unknown>): Promise<number> {
  await world.qmp((qmp) => qmp.stop());
  try {
    await meanwhile?.();
    await delay(ms);
  } finally {
    await world.qmp((qmp) => qmp.cont());
  }
  return performance.now();
}

/** Where QEMU's object tree has the link's port: it was started without an id, and gets another place each time. */
async function findPort(qmp: Qmp): Promise<string> {
  for (const folder of ['/machine/peripheral', '/machine/peripheral-anon']) {
    const entries = (await qmp.execute('qom-list', { path: folder })) as { name: string; type: string }[];
    for (const { name, type } of entries) if (type === 'child<virtserialport>') return `${folder}/${name}`;
  }
  throw new Error('QEMU has no virtserialport');
}

export const faultKinds: readonly FaultKind[] = [
  { name: 'kill proxy', kills: 1, drivers: both, inject: (world) => killProxy(world) },
  {
    name: 'kill proxy during attach',
    kills: 2,
    drivers: both,
    async inject(world, random) {
      await killProxy(world);
      // Its clients are connecting, binding or attaching just now.
      await delay(between(random, 0, 60));
      return await killProxy(world);
    },
  },
  {
    name: 'stop proxy',
    kills: 0,
    drivers: both,
    async inject(world, random) {
      const pid = await proxy(world);
      return { at: await stopFor(pid, between(random, 200, 1500)), target: `proxy ${pid}` };
    },
  },
  {
    name: 'stop shim',
    kills: 0,
    drivers: both,
    async inject(world, random) {
      const pid = pick(random, world.shimPids);
      return { at: await stopFor(pid, between(random, 500, 2000)), target: `shim ${pid}` };
    },
  },
  {
    name: 'stop shim, kill proxy',
    kills: 1,
    drivers: both,
    async inject(world, random) {
      const pid = pick(random, world.shimPids);
      const at = await stopFor(pid, between(random, 200, 1000), () => killProxy(world));
      return { at, target: `shim ${pid}` };
    },
  },
  {
    name: 'cut client',
    kills: 0,
    drivers: both,
    async inject(world, random) {
      await until(() => world.cutClient(random), 'a client is cut');
      return { target: 'of the proxy', at: performance.now() };
    },
  },
  {
    name: 'cut shim',
    kills: 0,
    drivers: both,
    async inject(world, random) {
      const pid = pick(random, world.shimPids);
      await until(() => world.cutShim(pid, random), 'a shim is cut');
      return { target: `shim ${pid}`, at: performance.now() };
    },
  },
  {
    name: 'cut link',
    kills: 0,
    drivers: both,
    async inject(world, random) {
      await until(() => world.cutLink(random), 'the link is cut');
      return { target: `VM ${world.vmPid}`, at: performance.now() };
    },
  },
  {
    name: 'reopen port in guest',
    kills: 0,
    drivers: vm,
    async inject(world) {
      await world.signalAgent('HUP');
      return { target: 'agent', at: performance.now() };
    },
  },
  {
    name: 'unplug port',
    kills: 0,
    drivers: vm,
    async inject(world, random) {
      const port = await world.qmp(findPort);
      await world.qmp((qmp) => qmp.execute('device_del', { id: port }));
      await delay(between(random, 0, 500));
      const device = { driver: 'virtserialport', chardev: 'link', name: linkPortName };
      // The old port lets go of the chardev some time after device_del, later on a busy host.
      await until(async () => {
        try {
          await world.qmp((qmp) => qmp.execute('device_add', device));
          return true;
        } catch (error) {
          if (!(error as Error).message.includes("'link' is in use")) throw error;
          return false;
        }
      }, 'QEMU has let go of the old port');
      return { target: port.split('/').at(-1)!, at: performance.now() };
    },
  },
  {
    name: 'pause VM',
    kills: 0,
    drivers: vm,
    async inject(world, random) {
      return { at: await pauseVm(world, between(random, 500, 3000)), target: `VM ${world.vmPid}` };
    },
  },
  {
    name: 'pause VM, kill proxy',
    kills: 1,
    drivers: vm,
    async inject(world, random) {
      const at = await pauseVm(world, between(random, 100, 1000), () => killProxy(world));
      return { at, target: `VM ${world.vmPid}` };
    },
  },
  {
    name: "guest's clock jumps",
    kills: 0,
    drivers: vm,
    async inject(world, random) {
      const seconds = Math.floor(between(random, 0, 2 ** 31 - 1));
      await world.exec(['date', '-s', `@${seconds}`], ['--cap', 'CAP_SYS_TIME']);
      return { target: new Date(seconds * 1000).toISOString().slice(0, 10), at: performance.now() };
    },
  },
];
