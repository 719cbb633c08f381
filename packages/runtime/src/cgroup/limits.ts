/**
 * The limits of a VM's cgroup on the host. The container's own are applied in the guest; here is what only the host can
 * do, its weight beside others, its CPUs and its disks, and a bound on what the VM as a whole may take.
 */
import type { BlockIo, Resources, Throttle } from '../spec/spec.ts';

export interface VmCost {
  readonly memoryBytes: number;
  readonly vcpus: number;
  readonly accel: 'kvm' | 'tcg' | undefined;
}

/** A value for a file of a cgroup. One that is `optional` may be missing: not every kernel has it. */
export interface CgroupSetting {
  readonly controller: string;
  readonly file: string;
  readonly value: string;
  readonly optional?: boolean;
}

const mebibyte = 1024 * 1024;

/**
 * Beside the guest's memory: QEMU (100 MiB with its buffers), virtiofsd, shims, and what the kernel keeps for the files
 * that virtiofsd has open, one for each that the guest knows: 1.5 KiB each, which the guest's own memory bounds.
 */
const hostOverheadBytes = 512 * mebibyte;
const openFilesShare = 0.5;
/** QEMU's cache of translated code, when it emulates (tcg/region.c, default_code_gen_buffer_size). */
const translatedCodeBytes = 1024 * mebibyte;

/** So far above what a VM takes that the kernel never kills one that behaves. */
export function hostMemoryLimitBytes({ memoryBytes, accel }: VmCost): number {
  const emulation = accel === 'kvm' ? 0 : translatedCodeBytes;
  return Math.ceil(memoryBytes * (1 + openFilesShare)) + hostOverheadBytes + emulation;
}

/** One CPU's worth more than the vCPUs can use: QEMU's main loop and virtiofsd. */
const overheadCpus = 1;
const periodUs = 100_000;

/** Bounds on the VM, for a container that has any. */
export function vmSettings(version: 1 | 2, resources: Resources, vm: VmCost): CgroupSetting[] {
  const memory = hostMemoryLimitBytes(vm);
  const quota = (vm.vcpus + overheadCpus) * periodUs;
  const hasMemoryLimit = (resources.memory?.limit ?? 0) > 0;
  const hasQuota = (resources.cpu?.quota ?? 0) > 0;
  return [
    ...(hasMemoryLimit
      ? [
          {
            controller: 'memory',
            file: version === 1 ? 'memory.limit_in_bytes' : 'memory.max',
            value: String(memory),
          },
        ]
      : []),
    ...(!hasQuota
      ? []
      : version === 1
        ? [
            { controller: 'cpu', file: 'cpu.cfs_period_us', value: String(periodUs), optional: true },
            { controller: 'cpu', file: 'cpu.cfs_quota_us', value: String(quota), optional: true },
          ]
        : [{ controller: 'cpu', file: 'cpu.max', value: `${quota} ${periodUs}`, optional: true }]),
  ];
}

/** What of the container's resources is about this host. */
export function hostSettings(version: 1 | 2, { cpu, blockIO }: Resources): CgroupSetting[] {
  const settings: (CgroupSetting | undefined)[] = [
    has(cpu?.shares)
      ? version === 1
        ? { controller: 'cpu', file: 'cpu.shares', value: String(cpu.shares) }
        : { controller: 'cpu', file: 'cpu.weight', value: String(cpuWeight(cpu.shares)) }
      : undefined,
    cpu?.cpus ? { controller: 'cpuset', file: 'cpuset.cpus', value: cpu.cpus } : undefined,
    cpu?.mems ? { controller: 'cpuset', file: 'cpuset.mems', value: cpu.mems } : undefined,
    ...(blockIO === undefined ? [] : version === 1 ? blkioSettings(blockIO) : ioSettings(blockIO)),
  ];
  return settings.filter((setting) => setting !== undefined);
}

const has = (value: number | undefined): value is number => value !== undefined && value !== 0;

/** From 2..262144 to 1..10000, as runc and crun do (runc's docs/cgroup-v2.md). */
export function cpuWeight(shares: number): number {
  const clamped = Math.min(Math.max(shares, 2), 262_144);
  return 1 + Math.floor(((clamped - 2) * 9999) / 262_142);
}

/** Documentation/admin-guide/cgroup-v1/blkio-controller.rst. Weights need the BFQ scheduler. */
function blkioSettings(io: BlockIo): CgroupSetting[] {
  const throttle = (file: string, devices: readonly Throttle[] = []) =>
    devices.map(({ major, minor, rate }) => ({
      controller: 'blkio',
      file: `blkio.throttle.${file}`,
      value: `${major}:${minor} ${rate}`,
    }));
  return [
    ...weight('blkio', 'blkio.bfq.weight', io.weight),
    ...(io.weightDevice ?? []).flatMap(({ major, minor, weight: one }) =>
      has(one) ? weight('blkio', 'blkio.bfq.weight_device', `${major}:${minor} ${one}`) : [],
    ),
    ...throttle('read_bps_device', io.throttleReadBpsDevice),
    ...throttle('write_bps_device', io.throttleWriteBpsDevice),
    ...throttle('read_iops_device', io.throttleReadIOPSDevice),
    ...throttle('write_iops_device', io.throttleWriteIOPSDevice),
  ];
}

/** Documentation/admin-guide/cgroup-v2.rst, "IO Interface Files". */
function ioSettings(io: BlockIo): CgroupSetting[] {
  const throttle = (key: string, devices: readonly Throttle[] = []) =>
    devices.map(({ major, minor, rate }) => ({
      controller: 'io',
      file: 'io.max',
      value: `${major}:${minor} ${key}=${rate}`,
    }));
  return [
    ...weight('io', 'io.bfq.weight', io.weight),
    ...(io.weightDevice ?? []).flatMap(({ major, minor, weight: one }) =>
      has(one) ? weight('io', 'io.bfq.weight', `${major}:${minor} ${one}`) : [],
    ),
    ...throttle('rbps', io.throttleReadBpsDevice),
    ...throttle('wbps', io.throttleWriteBpsDevice),
    ...throttle('riops', io.throttleReadIOPSDevice),
    ...throttle('wiops', io.throttleWriteIOPSDevice),
  ];
}

function weight(controller: string, file: string, value: number | string | undefined): CgroupSetting[] {
  if (value === undefined || value === 0) return [];
  return [{ controller, file, value: String(value), optional: true }];
}
