import { expect, test } from 'vitest';
import { guestResources } from './resources.ts';

test('what names CPUs, memory nodes and devices of the host stays out of the guest, and so does cgroup v1', () => {
  const resources = {
    memory: { limit: 100, swap: 200, reservation: 0, kernel: 5, swappiness: 7, disableOOMKiller: true },
    cpu: { shares: 512, quota: 0, period: 100_000, cpus: '3', mems: '1', realtimeRuntime: 1 },
    pids: { limit: 10 },
    blockIO: { weight: 10 },
    hugepageLimits: [{ pageSize: '2MB', limit: 1 }],
    network: { classID: 1 },
    devices: [{ allow: false, access: 'rwm' }],
    unified: { 'memory.high': '90' },
  };
  expect(guestResources(resources, 'linux.resources')).toEqual({
    memory: { limit: 100, swap: 200 },
    cpu: { shares: 512, period: 100_000 },
    pids: { limit: 10 },
    devices: [{ allow: false, access: 'rwm' }],
    unified: { 'memory.high': '90' },
  });
});

test('swap without memory says nothing', () => {
  expect(guestResources({ memory: { swap: 200 } }, 'resources')).toEqual({ memory: {} });
});

test.each([
  ['../cgroup.procs', '1', /linux.resources.unified has a strange name/],
  ['memory.high', 1, /linux.resources.unified.memory.high must be a string/],
])('unified[%s] = %j is refused', (name, value, message) => {
  expect(() => guestResources({ unified: { [name]: value } }, 'linux.resources')).toThrow(message);
});
