import { expect, test } from 'vitest';
import { guestOverheadBytes, hostSize, parseMemAvailable, sizeVm } from './size.ts';

const mebibyte = 1024 * 1024;
const host = { availableBytes: 8192 * mebibyte, cpus: 4 };
const overhead = guestOverheadBytes / mebibyte;

test.each([
  { request: {}, memory: 1024 + overhead, vcpus: 1 },
  { request: { memoryLimitBytes: 256 * mebibyte }, memory: 256 + overhead, vcpus: 1 },
  { request: { memoryLimitBytes: 6 * mebibyte + 1 }, memory: 7 + overhead, vcpus: 1 },
  { request: { memoryLimitBytes: 0 }, memory: 1024 + overhead, vcpus: 1 },
  { request: { memoryLimitBytes: -1 }, memory: 1024 + overhead, vcpus: 1 },
  { request: { memoryLimitBytes: 2 ** 63 - 4096 }, memory: 1024 + overhead, vcpus: 1 },
  { request: { cpuQuota: 50_000, cpuPeriod: 100_000 }, memory: 1024 + overhead, vcpus: 1 },
  { request: { cpuQuota: 250_000, cpuPeriod: 100_000 }, memory: 1024 + overhead, vcpus: 3 },
  { request: { cpuQuota: 250_000 }, memory: 1024 + overhead, vcpus: 3 },
  { request: { cpuQuota: -1, cpuPeriod: 100_000 }, memory: 1024 + overhead, vcpus: 1 },
  { request: { cpus: 1.5, cpuQuota: 50_000 }, memory: 1024 + overhead, vcpus: 2 },
  { request: { cpus: 64 }, memory: 1024 + overhead, vcpus: 4 },
])('$request gives $memory MiB and $vcpus vCPUs', ({ request, memory, vcpus }) => {
  expect(sizeVm(request, host)).toEqual({ memoryBytes: memory * mebibyte, vcpus });
});

test('without a limit a small host gives what it can', () => {
  const small = { availableBytes: 700 * mebibyte, cpus: 1 };
  expect(sizeVm({}, small)).toEqual({ memoryBytes: 350 * mebibyte, vcpus: 1 });
});

test('a limit that the host cannot give is refused with the numbers', () => {
  expect(() => sizeVm({ memoryLimitBytes: 16384 * mebibyte }, host)).toThrow(
    expect.objectContaining({
      code: 'no-memory',
      message: expect.stringContaining(`needs ${16384 + overhead} MiB`),
      remedy: expect.stringContaining('smaller memory limit'),
    }),
  );
});

test('the host tells its memory and CPUs', () => {
  expect(parseMemAvailable('MemTotal:  9 kB\nMemAvailable:   23827000 kB\n')).toBe(23827000 * 1024);
  expect(hostSize().availableBytes).toBeGreaterThan(0);
});
