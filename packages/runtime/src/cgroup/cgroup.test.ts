import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Log } from '../cli/log.ts';
import { cgroupFolders, createCgroup, removeCgroup, writeSettings } from './cgroup.ts';
import { hostHierarchies } from './hierarchies.ts';
import { cpuWeight, hostMemoryLimitBytes, hostSettings, vmSettings } from './limits.ts';
import { hostCgroupPath } from './path.ts';

const log = new Log({ format: 'text', debug: false });

describe('hierarchies', () => {
  test('version 1, with a bare mount of version 2 beside it that does not count', () => {
    const mountinfo = [
      '32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct',
      '35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:3 - cgroup cgroup rw,memory',
      '36 31 0:32 / /elsewhere rw,relatime - cgroup cgroup rw,memory',
      '40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd',
      '41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw',
    ].join('\n');
    expect(hostHierarchies(mountinfo)).toEqual([
      { version: 1, mountPoint: '/sys/fs/cgroup/cpu,cpuacct', controllers: ['cpu', 'cpuacct'] },
      { version: 1, mountPoint: '/sys/fs/cgroup/memory', controllers: ['memory'] },
      { version: 1, mountPoint: '/sys/fs/cgroup/systemd', controllers: ['name=systemd'] },
    ]);
  });

  test('version 2', () => {
    const mountinfo = '30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n';
    expect(hostHierarchies(mountinfo)).toEqual([
      { version: 2, mountPoint: '/sys/fs/cgroup', controllers: [] },
    ]);
  });
});

describe('path', () => {
  test.each([
    [undefined, false, '/coracle/box'],
    ['', true, '/coracle/box'],
    ['/docker/abc', false, '/docker/abc'],
    ['/a/../../b', false, '/b'],
    ['pod/abc', false, '/coracle/pod/abc'],
    ['../x', false, '/x'],
    ['system.slice:docker:abc', true, '/system.slice/docker-abc.scope'],
    ['user-1000.slice:libpod:abc', true, '/user.slice/user-1000.slice/libpod-abc.scope'],
    [':cri:abc', true, '/system.slice/cri-abc.scope'],
    ['-.slice::abc', true, '/abc.scope'],
    ['a.slice::b.slice', true, '/a.slice/b.slice'],
  ])('%j (systemd: %s) is %s', (path, systemd, wanted) => {
    expect(hostCgroupPath(path, { systemd, sandboxId: 'box' })).toBe(wanted);
  });

  test.each([
    ['/', false, /is the root/],
    ['/docker/abc', true, /not of the form slice:prefix:name/],
    ['../..:x:y', true, /no slice's name|no unit's name/],
    ['a.slice:x:../../y', true, /no unit's name/],
    ['a--b.slice:x:y', true, /no slice's name/],
  ])('%j (systemd: %s) is refused', (path, systemd, message) => {
    expect(() => hostCgroupPath(path, { systemd, sandboxId: 'box' })).toThrow(message);
  });
});

describe('limits', () => {
  const vm = { memoryBytes: 192 * 2 ** 20, vcpus: 2, accel: 'kvm' } as const;

  test('a VM is bounded well above what it can take, and only when its container is', () => {
    expect(hostMemoryLimitBytes(vm)).toBe(800 * 2 ** 20);
    expect(hostMemoryLimitBytes({ ...vm, accel: 'tcg' })).toBe(1824 * 2 ** 20);
    expect(vmSettings(1, { pids: { limit: 5 }, cpu: { shares: 7 } }, vm)).toEqual([]);
    const resources = { memory: { limit: 64 * 2 ** 20 }, cpu: { quota: 20_000 } };
    expect(vmSettings(2, resources, vm).map(({ file, value }) => `${file} ${value}`)).toEqual([
      `memory.max ${800 * 2 ** 20}`,
      'cpu.max 300000 100000',
    ]);
  });

  test("weight, CPUs and disks are the host's", () => {
    const resources = {
      cpu: { shares: 1024, cpus: '0-1', quota: 5 },
      blockIO: { weight: 100, throttleReadBpsDevice: [{ major: 8, minor: 0, rate: 99 }] },
    };
    const shown = (version: 1 | 2) =>
      hostSettings(version, resources).map(({ file, value }) => `${file} ${value}`);
    expect(shown(1)).toEqual([
      'cpu.shares 1024',
      'cpuset.cpus 0-1',
      'blkio.bfq.weight 100',
      'blkio.throttle.read_bps_device 8:0 99',
    ]);
    expect(shown(2)).toEqual(['cpu.weight 39', 'cpuset.cpus 0-1', 'io.bfq.weight 100', 'io.max 8:0 rbps=99']);
    expect([2, 262_144, 1].map(cpuWeight)).toEqual([1, 10_000, 1]);
  });
});

describe('on this host', () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'cgroup-'));
  });
  afterEach(async () => {
    await removeCgroup(directory);
    rmSync(directory, { recursive: true });
  });

  test('folders are made, limited and removed, with those above that are ours', async () => {
    const name = `test-${process.pid}`;
    const cgroup = createCgroup(directory, `/coracle/${name}`, log);
    writeSettings(cgroup, (version) => hostSettings(version, { cpu: { shares: 512 } }));
    const folders = cgroupFolders(cgroup);
    expect(folders.length).toBe(hostHierarchies().length);
    for (const folder of folders) expect(readFileSync(join(folder, 'cgroup.procs'), 'utf8')).toBe('');
    await removeCgroup(directory);
    for (const folder of folders) expect(() => readFileSync(join(folder, 'cgroup.procs'))).toThrow('ENOENT');
    // Once more, as after a crash in the middle.
    await removeCgroup(directory);
  });

  // The end of one container took away what another one had just made, and that could not start.
  test('those of others stay, also when nothing is in them yet', async () => {
    const other = mkdtempSync(join(tmpdir(), 'cgroup-'));
    try {
      const theirs = cgroupFolders(createCgroup(other, `/coracle/test-${process.pid}-new`, log));
      createCgroup(directory, `/coracle/test-${process.pid}-ends`, log);
      await removeCgroup(directory);
      for (const folder of theirs) expect(readFileSync(join(folder, 'cgroup.procs'), 'utf8')).toBe('');
    } finally {
      await removeCgroup(other);
      rmSync(other, { recursive: true });
    }
  });

  test('one with processes in it is refused, and they live on', async () => {
    const path = `/coracle/test-${process.pid}-used`;
    const [folder = ''] = cgroupFolders(createCgroup(directory, path, log));
    const other = mkdtempSync(join(tmpdir(), 'cgroup-'));
    const sleeper = spawn('/bin/sleep', ['60']);
    try {
      writeFileSync(join(folder, 'cgroup.procs'), String(sleeper.pid));
      expect(() => createCgroup(other, path, log)).toThrow(/it is not empty \(process \d+\)/);
      await removeCgroup(other);
      expect(readFileSync(join(folder, 'cgroup.procs'), 'utf8')).toBe(`${sleeper.pid}\n`);
    } finally {
      sleeper.kill('SIGKILL');
      rmSync(other, { recursive: true });
    }
  });

  test('a value that the kernel refuses is named', () => {
    const cgroup = createCgroup(directory, `/coracle/test-${process.pid}-bad`, log);
    const write = () => writeSettings(cgroup, (version) => hostSettings(version, { cpu: { cpus: '999' } }));
    expect(write).toThrow(/cannot set the limit cpuset.cpus of the virtual machine to 999, in .*: /);
  });
});
