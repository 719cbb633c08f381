/**
 * The commands that engines call beside a container's life: update, events, ps, features. One VM, made for 64 MiB and one
 * CPU; where runc answers on this host, what it prints has the same form.
 */
import { spawn } from 'node:child_process';
import { existsSync, readFileSync, rmdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { hostHierarchies } from '../../packages/runtime/src/cgroup/hierarchies.ts';
import { coracle, RuntimePlace } from '../local/runtime-place.ts';
import { run } from '../support/program.ts';
import { until } from '../support/wait.ts';

const MiB = 2 ** 20;
const env = { CORACLE_DRIVER: 'qemu', CORACLE_TEMPLATE: 'off' };
const id = 'oci';
const cgroup = `/coracle-test-${process.pid}/oci`;

let place: RuntimePlace;
const call = (...args: string[]) => place.coracle(args, { env });
const inside = async (script: string) => (await call('exec', id, 'sh', '-c', script)).stdout;

beforeAll(async () => {
  place = new RuntimePlace();
  // biome-ignore lint/suspicious/noExplicitAny: what the test changes of it
  const bundle = place.bundle(['sleep', '1000'], (config: any) => {
    config.linux.cgroupsPath = cgroup;
    config.linux.resources = {
      memory: { limit: 64 * MiB, swap: 128 * MiB },
      cpu: { quota: 50_000, period: 100_000, cpus: '0-1', mems: '0', shares: 512 },
      pids: { limit: 50 },
    };
    config.mounts.push({ destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: ['ro'] });
  });
  expect(await call('run', '--detach', '--bundle', bundle, id)).toMatchObject({ code: 0, stderr: '' });
});
afterAll(async () => {
  const folders = hostFolders();
  await call('delete', '--force', id);
  expect(place.leftovers()).toEqual([]);
  expect(folders.filter((folder) => existsSync(folder))).toEqual([]);
  for (const folder of folders) rmdirSync(dirname(folder));
  await place[Symbol.asyncDispose]();
});

/** The cgroup in each hierarchy of this host. */
const hostFolders = () => hostHierarchies().map(({ mountPoint }) => `${mountPoint}${cgroup}`);

test("the VM is in the host's cgroup at linux.cgroupsPath, whole, with room for itself", async () => {
  const { pid } = JSON.parse((await call('state', id)).stdout);
  const lines = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
  expect(lines.filter((line) => line.endsWith(`:${cgroup}`)).length).toBe(hostFolders().length);
  for (const folder of hostFolders()) {
    const pids = readFileSync(`${folder}/cgroup.procs`, 'utf8').trim().split('\n');
    const names = pids.map((one) => readFileSync(`/proc/${one}/comm`, 'utf8').trim());
    expect(names.sort()).toEqual(['coracle-shim', 'qemu-system-x86', 'virtiofsd', 'virtiofsd']);
  }
  const memory = hostFolders().find((folder) => existsSync(`${folder}/memory.limit_in_bytes`));
  if (memory === undefined) throw new Error('this host has no cgroup v1 memory controller: extend this test');
  const read = (file: string) => Number(readFileSync(`${memory}/${file}`, 'utf8'));
  // 192 MiB of the VM, half of it again, and 512; emulation takes up to a GiB more.
  expect([800 * MiB, 1824 * MiB]).toContain(read('memory.limit_in_bytes'));
  // docker stats shows this: the guest's memory and QEMU.
  expect(read('memory.usage_in_bytes')).toBeGreaterThan(64 * MiB);
});

test('update changes the limits that it names, by flags and by JSON on stdin', async () => {
  expect(await call('update', '--memory', '32m', '--pids-limit', '20', id)).toMatchObject({ code: 0 });
  const files = '/sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max /sys/fs/cgroup/cpu.max';
  expect(await inside(`cat ${files}`)).toBe(`${32 * MiB}\n20\n50000 100000\n`);
  const stdin = JSON.stringify({
    memory: { limit: 48 * MiB, reservation: 0 },
    cpu: { quota: 100_000, shares: 0, cpus: '', realtimePeriod: 0 },
    blockIO: { weight: 0 },
    pids: { limit: -1 },
  });
  expect(await place.coracle(['update', '--resources', '-', id], { env, stdin })).toMatchObject({ code: 0 });
  expect(await inside(`cat ${files}`)).toBe(`${48 * MiB}\nmax\n100000 100000\n`);
  // Weight and CPUs are the host's to give.
  expect(await call('update', '--cpu-share', '256', '--cpuset-cpus', '0', id)).toMatchObject({ code: 0 });
  const onHost = (file: string) =>
    hostFolders().flatMap((folder) =>
      existsSync(`${folder}/${file}`) ? [readFileSync(`${folder}/${file}`, 'utf8').trim()] : [],
    );
  expect([onHost('cpu.shares'), onHost('cpuset.cpus')]).toEqual([['256'], ['0']]);
});

test.each([
  [['--memory', '65m'], 'a memory limit of 65 MiB does not fit into its VM, which was made for 64 MiB'],
  [['--cpu-quota', '150000'], 'a quota of 1.5 CPUs does not fit into its VM, which was made with 1 vCPU'],
  [['--memory', 'much'], 'invalid value for memory: "much" is not a size such as 512m'],
  [['--l3-cache-schema', 'L3:0=f'], 'is of Intel RDT, which a VM does not have'],
])('update %j is refused, and nothing changes', async (flags, message) => {
  const before = await inside('cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max');
  const { code, stderr } = await call('update', ...flags, id);
  expect(code).toBe(1);
  expect(stderr).toContain(message);
  expect(await inside('cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max')).toBe(before);
});

test('ps: pids of the guest for people; for engines those of this host, which show the processes themselves', async () => {
  const exec = spawn(coracle, place.arguments(['exec', id, 'sleep', '777']), {
    env: { ...place.env, ...env },
  });
  const ended = new Promise((resolve) => exec.on('exit', resolve));
  const pids = async (): Promise<number[]> => JSON.parse((await call('ps', '--format', 'json', id)).stdout);
  let found: number[] = [];
  const both = async () => {
    found = await pids();
    return found.length === 2;
  };
  await until(both, 'the exec is listed');
  const shown = found.map((pid) =>
    readFileSync(`/proc/${pid}/cmdline`, 'utf8').replace(/\0+$/, '').split('\0'),
  );
  expect(shown).toEqual([
    ['sleep', '1000'],
    ['sleep', '777'],
  ]);
  const { pid } = JSON.parse((await call('state', id)).stdout);
  expect(found[0]).toBe(pid);
  expect((await call('ps', id, '-ef')).stdout).toMatch(/^PID\n\d+\n\d+\n$/);
  process.kill(found[1]!, 'SIGTERM');
  await ended;
  expect(await pids()).toEqual([pid]);
});

test('events: stats as runc prints them, a kill for want of memory when it happens, and the end', async () => {
  const { stdout } = await call('events', '--stats', id);
  const event = JSON.parse(stdout);
  expect(event).toMatchObject({ type: 'stats', id, data: { memory: { usage: { limit: 48 * MiB } } } });
  expect(event.data.cpu.usage.total).toBeGreaterThan(0);
  expect(Object.keys(event.data)).toEqual([
    ...['cpu', 'cpuset', 'memory', 'pids', 'blkio', 'hugetlb', 'intel_rdt', 'network_interfaces'],
  ]);

  const watcher = spawn(coracle, place.arguments(['events', '--interval', '24h', id]), {
    env: { ...place.env, ...env },
  });
  let told = '';
  watcher.stdout.on('data', (bytes: Buffer) => {
    told += bytes;
  });
  const left = new Promise<number | null>((resolve) => watcher.on('exit', resolve));
  // It has to be there before: what happened earlier is not told.
  const hog = async () => await call('exec', id, 'dd', 'if=/dev/zero', 'of=/dev/null', 'bs=60M', 'count=1');
  const isTold = async () => {
    expect((await hog()).code).toBe(137);
    return told.includes('"oom"');
  };
  await until(isTold, 'the kill is told');
  expect(JSON.parse(told.split('\n')[0]!)).toEqual({ type: 'oom', id });

  await call('kill', id, 'KILL');
  expect(await left).toBe(0);
  await until(async () => JSON.parse((await call('state', id)).stdout).status === 'stopped', 'it is stopped');
  expect(await call('events', '--stats', id)).toMatchObject({
    code: 1,
    stderr: `coracle: container with id ${id} is not running\n`,
  });
  expect((await call('update', '--memory', '32m', id)).stderr).toContain('container not running');
});

test('features: of the form that runc gives, and nothing that runc of this host does not know', async () => {
  const ours = JSON.parse((await call('features')).stdout);
  const theirs = JSON.parse((await run('runc', ['features'], { env: { PATH: process.env.PATH! } })).stdout);
  expect(Object.keys(ours)).toEqual(Object.keys(theirs));
  expect(theirs.linux.capabilities).toEqual(ours.linux.capabilities);
  // Refused: docs/processes.md, "Hooks".
  expect(ours.hooks).toEqual(theirs.hooks.filter((name: string) => name !== 'createContainer'));
  const known = theirs.mountOptions.filter((name: string) => ours.mountOptions.includes(name));
  expect(known.length).toBeGreaterThan(5);
  expect(ours.mountOptions).toEqual(
    expect.arrayContaining(['rro', 'rbind', 'rprivate', 'nosuid', 'tmpcopyup']),
  );
});
