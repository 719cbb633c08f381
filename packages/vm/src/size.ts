import { readFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { VmError } from './errors.ts';

const mebibyte = 1024 * 1024;

/**
 * What the guest needs for itself beside the container's own memory: the kernel and its descriptions of pages (22 MiB),
 * its slabs, stacks and buffers (11), the agent's own pages (20 at its start, more when it keeps output), crun while
 * it runs, what is written to /run, and pages that the kernel wants free. The root is mapped from the host and takes
 * nothing (`coracle-image boot --memory`); an image whose root is a disk keeps less of it in its page cache.
 */
export const guestOverheadBytes = 128 * mebibyte;

/** For a container without a limit. Memory is taken from the host only when the guest touches it. */
export const defaultMemoryBytes = 1024 * mebibyte;
/** A container without a limit gets less on a small host, but not less than this. */
export const minDefaultMemoryBytes = 128 * mebibyte;
/**
 * For a container without a CPU limit. More vCPUs are slower unless the work is parallel: under emulation a
 * boot takes a third longer with two, since each change of a page table has to be told to both.
 */
export const defaultVcpus = 1;

/**
 * Limits this large mean "none": cgroup v1 writes no limit as LONG_MAX rounded down to a page, and some
 * engines pass that number on.
 */
const unlimitedBytes = 2 ** 60;

export interface SizeRequest {
  /** linux.resources.memory.limit; 0 and negative mean none (runtime-spec config-linux.md). */
  readonly memoryLimitBytes?: number | undefined;
  /** Microseconds of CPU time in each `cpuPeriod`; 0 and negative mean none. */
  readonly cpuQuota?: number | undefined;
  readonly cpuPeriod?: number | undefined;
  /** A count of CPUs, which may be a fraction; wins over the quota. */
  readonly cpus?: number | undefined;
}

export interface VmSize {
  readonly memoryBytes: number;
  readonly vcpus: number;
}

export interface HostSize {
  readonly availableBytes: number;
  readonly cpus: number;
}

export function hostSize(): HostSize {
  return { availableBytes: parseMemAvailable(readFileSync('/proc/meminfo', 'latin1')), cpus: cpus().length };
}

export function parseMemAvailable(meminfo: string): number {
  const kibibytes = /^MemAvailable:\s+(\d+) kB$/m.exec(meminfo)?.[1];
  if (kibibytes === undefined) throw new Error('/proc/meminfo has no MemAvailable (proc(5))');
  return Number(kibibytes) * 1024;
}

/** @throws VmError `no-memory` when the host has not that much free. */
export function sizeVm(request: SizeRequest, host: HostSize = hostSize()): VmSize {
  const limit = request.memoryLimitBytes ?? 0;
  const containerBytes = limit > 0 && limit < unlimitedBytes ? limit : unlimitedMemoryBytes(host);
  const memoryBytes = Math.ceil((containerBytes + guestOverheadBytes) / mebibyte) * mebibyte;
  checkHostMemory(memoryBytes, host);
  return { memoryBytes, vcpus: vcpusFor(request, host) };
}

/** @throws VmError `no-memory` */
export function checkHostMemory(memoryBytes: number, host: HostSize = hostSize()): void {
  if (memoryBytes <= host.availableBytes) return;
  const inMebibytes = (bytes: number) => `${Math.floor(bytes / mebibyte)} MiB`;
  throw new VmError(
    'no-memory',
    `the VM needs ${inMebibytes(memoryBytes)} (the container's limit and ${inMebibytes(guestOverheadBytes)} for the guest), ` +
      `the host has ${inMebibytes(host.availableBytes)} available`,
    { remedy: 'Give the container a smaller memory limit, or free memory on the host.' },
  );
}

/** Half of what is free, within bounds: a default must not be what makes a small host refuse. */
function unlimitedMemoryBytes(host: HostSize): number {
  return Math.max(
    minDefaultMemoryBytes,
    Math.min(defaultMemoryBytes, host.availableBytes / 2 - guestOverheadBytes),
  );
}

function vcpusFor({ cpus, cpuQuota = 0, cpuPeriod = 0 }: SizeRequest, host: HostSize): number {
  const period = cpuPeriod > 0 ? cpuPeriod : defaultCpuPeriod;
  const wanted = cpus !== undefined && cpus > 0 ? cpus : cpuQuota > 0 ? cpuQuota / period : defaultVcpus;
  // More vCPUs than CPUs only makes them wait for each other.
  return Math.max(1, Math.min(Math.ceil(wanted), host.cpus));
}

/** The kernel's own default, 100 ms (Documentation/scheduler/sched-bwc.rst). */
const defaultCpuPeriod = 100_000;
