import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import {
  checkCompatibility,
  ignoredFields,
  type LooseConfig,
  withoutForeignDevices,
} from './compatibility.ts';

const namespaces = ['pid', 'ipc', 'uts', 'mount', 'network'].map((type) => ({ type }));
const config = (linux: LooseConfig['linux'], rest: LooseConfig = {}): LooseConfig => ({
  ...rest,
  linux: { namespaces, ...linux },
});
const kvm = { path: '/dev/kvm', type: 'c', major: 10, minor: 232 };
const fuse = { path: '/dev/fuse', type: 'c', major: 10, minor: 229 };
const all = { allow: true, access: 'rwm' };

test('what engines send for "nothing" is neither refused nor warned of', () => {
  const nothing = config(
    {
      devices: null,
      netDevices: {},
      timeOffsets: null,
      seccomp: { listenerPath: '' },
      mountLabel: '',
      intelRdt: null,
      resources: {
        memory: { disableOOMKiller: false },
        cpu: { realtimeRuntime: 0 },
        hugepageLimits: [],
        network: { classID: 0, priorities: [] },
        rdma: {},
      },
    },
    { process: { apparmorProfile: 'unconfined', selinuxLabel: '' }, mounts: null },
  );
  expect(checkCompatibility(nothing, [])).toEqual([]);
});

test.each<[LooseConfig, RegExp]>([
  [{ linux: { namespaces: [] } }, /has no pid namespace, which asks for this host's processes/],
  [{}, /has no pid namespace/],
  [
    config({ namespaces: [{ type: 'pid', path: '/proc/5/ns/pid' }] }),
    /the pid namespace \/proc\/5\/ns\/pid is/,
  ],
  [config({ seccomp: { listenerPath: '/x' } }), /linux\.seccomp\.listenerPath/],
  [config({ netDevices: { eth0: {} } }), /linux\.netDevices/],
  [config({ timeOffsets: { boottime: { secs: 1 } } }), /linux\.timeOffsets/],
  [config({ devices: [fuse, kvm] }), /\/dev\/kvm \(c 10:232\) is a device of this host/],
  [
    config({ devices: [kvm], resources: { devices: [{ ...all, type: 'c', major: 10, minor: 232 }] } }),
    /\/dev\/kvm/,
  ],
  [
    config({}, { mounts: [{ destination: '/m', options: ['bind', 'ridmap'] }] }),
    /mounts\[0\] \(\/m\) is to be idmapped/,
  ],
])('%j is refused', (given, message) => {
  expect(() => checkCompatibility(given, [])).toThrow(message);
});

test('a network namespace by path is not ours to refuse', () => {
  const given = config({
    namespaces: [...namespaces.slice(0, 4), { type: 'network', path: '/run/netns/x' }],
  });
  expect(checkCompatibility(given, [])).toEqual([]);
});

test('a privileged container has the devices of this host, as far as they mean anything', () => {
  const given = config({
    devices: [fuse, kvm],
    resources: { devices: [{ allow: false, access: 'rwm' }, all] },
  });
  expect(checkCompatibility(given, [])).toEqual([
    'linux.devices: /dev/kvm are left out: they are devices of this host, which do not exist inside a VM',
  ]);
  expect(withoutForeignDevices(given).linux?.devices).toEqual([fuse]);
});

describe('sources of bind mounts', () => {
  const mounts = [{ destination: '/in', options: ['rbind'] }];
  const bind = (source: string) => [{ mount: 0, source, readonly: false }];
  test('a device that is everywhere the same says nothing, another one does', () => {
    expect(checkCompatibility(config({}, { mounts }), bind('/dev/null'))).toEqual([]);
    expect(checkCompatibility(config({}, { mounts }), bind('/dev/ptmx'))).toEqual([]);
    const [warning] = checkCompatibility(config({}, { mounts }), bind('/dev/loop-control'));
    expect(warning).toBe(
      'mounts[0] (/in): /dev/loop-control is a device of this host, which does not exist inside the VM',
    );
  });
});

test('docs/compatibility.md has each field that is ignored or refused', () => {
  const page = readFileSync(new URL('../../../../docs/compatibility.md', import.meta.url), 'utf8');
  for (const field of [
    ...ignoredFields,
    'linux.seccomp.listenerPath',
    'linux.netDevices',
    'linux.timeOffsets',
  ]) {
    expect(page).toContain(`| \`${field}\``);
  }
});
