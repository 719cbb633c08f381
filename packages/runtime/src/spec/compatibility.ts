/**
 * What of config.json a virtual machine cannot give: refused where the container would be another one than was asked for,
 * ignored with a warning where runc's users expect that. docs/compatibility.md has a row for each field.
 */
import { statSync } from 'node:fs';
import { CliError } from '../cli/errors.ts';
import type { BindMount } from './bundle.ts';
import { type DeviceNode, meansTheSameInVm } from './devices.ts';

/** The fields that are looked at; config.json has been checked for their types, or they are left to crun. */
export interface LooseConfig {
  readonly vm?: unknown;
  readonly process?: {
    readonly apparmorProfile?: string | null;
    readonly selinuxLabel?: string | null;
    readonly scheduler?: unknown;
    readonly ioPriority?: unknown;
    readonly execCPUAffinity?: unknown;
  };
  readonly mounts?: readonly LooseMount[] | null;
  readonly linux?: {
    readonly namespaces?: readonly { readonly type: string; readonly path?: string }[] | null;
    readonly devices?: readonly (DeviceNode & { readonly path: string })[] | null;
    readonly netDevices?: object | null;
    readonly timeOffsets?: Readonly<
      Record<string, { readonly secs?: number; readonly nanosecs?: number }>
    > | null;
    readonly intelRdt?: unknown;
    readonly memoryPolicy?: unknown;
    readonly mountLabel?: string | null;
    readonly seccomp?: { readonly listenerPath?: string | null } | null;
    readonly resources?: {
      readonly devices?: readonly DeviceRule[] | null;
      readonly memory?: { readonly swappiness?: number; readonly disableOOMKiller?: boolean } | null;
      readonly cpu?: { readonly realtimeRuntime?: number; readonly realtimePeriod?: number } | null;
      readonly hugepageLimits?: readonly unknown[] | null;
      readonly network?: { readonly classID?: number; readonly priorities?: readonly unknown[] } | null;
      readonly rdma?: object | null;
    } | null;
  };
}

interface LooseMount {
  readonly destination: string;
  readonly options?: readonly string[] | null;
  readonly uidMappings?: readonly unknown[] | null;
  readonly gidMappings?: readonly unknown[] | null;
}

interface DeviceRule {
  readonly allow?: boolean;
  readonly type?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly access?: string;
}

/** @returns why each field that is ignored is; @throws CliError for one that cannot be honoured */
export function checkCompatibility(config: LooseConfig, binds: readonly BindMount[]): string[] {
  refuseNamespaces(config.linux?.namespaces ?? []);
  refuseMounts(config.mounts ?? []);
  if (config.linux?.seccomp?.listenerPath) {
    refuse(
      'linux.seccomp.listenerPath',
      "names a program of this host that decides about system calls; they happen in the guest's kernel, which has no way to ask it",
    );
  }
  const offsets = Object.values(config.linux?.timeOffsets ?? {});
  if (offsets.some(({ secs = 0, nanosecs = 0 }) => secs !== 0 || nanosecs !== 0)) {
    refuse('linux.timeOffsets', 'cannot be applied: crun, which sets up containers in the guest, cannot');
  }
  if (isSet(config.linux?.netDevices)) {
    refuse('linux.netDevices', 'moves interfaces of this host, which cannot leave its kernel for a VM');
  }
  return [
    ...ignoredDevices(config),
    ...namespaceWarnings(config.linux?.namespaces ?? []),
    ...mountWarnings(config.mounts ?? [], binds),
    ...ignored.flatMap(([field, read, why]) => (isSet(read(config)) ? [`${field} is ignored: ${why}`] : [])),
  ];
}

/** config.json without the devices that do not exist in a VM. */
export function withoutForeignDevices<T extends LooseConfig>(config: T): T {
  const { linux } = config;
  if (!linux?.devices?.some((device) => !meansTheSameInVm(device))) return config;
  return { ...config, linux: { ...linux, devices: linux.devices.filter(meansTheSameInVm) } };
}

function refuse(field: string, why: string): never {
  throw new CliError(`${field} ${why}`);
}

function refuseNamespaces(namespaces: NonNullable<NonNullable<LooseConfig['linux']>['namespaces']>): void {
  for (const { type, path } of namespaces) {
    if (!path || type === 'network') continue;
    refuse(
      `linux.namespaces: the ${type} namespace ${path}`,
      `is this host's or another container's, and a VM has its own kernel: it cannot be shared; leave --${type}=container:… out`,
    );
  }
  if (namespaces.some(({ type }) => type === 'pid')) return;
  refuse(
    'linux.namespaces',
    "has no pid namespace, which asks for this host's processes: a VM cannot show them; leave --pid=host out",
  );
}

function refuseMounts(mounts: readonly LooseMount[]): void {
  mounts.forEach(({ destination, uidMappings, gidMappings, options }, i) => {
    const mapped =
      isSet(uidMappings) || isSet(gidMappings) || options?.some((name) => /^r?idmap$/.test(name));
    if (!mapped) return;
    refuse(
      `mounts[${i}] (${destination})`,
      'is to be idmapped, which the file system between host and VM (virtiofs) cannot do; change the owners on the host',
    );
  });
}

/** Explicit ones are refused; a privileged container gets all of the host's, and means none in particular. */
function ignoredDevices({ linux }: LooseConfig): string[] {
  const foreign = (linux?.devices ?? []).filter((device) => !meansTheSameInVm(device));
  const [first] = foreign;
  if (first === undefined) return [];
  const { path, type, major, minor } = first;
  if (!(linux?.resources?.devices ?? []).some(allowsAll)) {
    refuse(
      'linux.devices:',
      `${path} (${type} ${major}:${minor}) is a device of this host, which does not exist inside a VM; leave --device out`,
    );
  }
  const paths = foreign.map((device) => device.path);
  const shown =
    paths.length > 3 ? `${paths.slice(0, 3).join(', ')} and ${paths.length - 3} more` : paths.join(', ');
  return [
    `linux.devices: ${shown} are left out: they are devices of this host, which do not exist inside a VM`,
  ];
}

const allowsAll = ({ allow, type = 'a', major = -1, minor = -1, access }: DeviceRule): boolean =>
  allow === true && type === 'a' && major === -1 && minor === -1 && access === 'rwm';

function namespaceWarnings(namespaces: readonly { readonly type: string }[]): string[] {
  const meanings = [
    ['ipc', "shared memory and queues are the VM's, not this host's"],
    ['uts', "the hostname is the VM's, not this host's"],
  ] as const;
  return meanings.flatMap(([type, instead]) =>
    namespaces.some((one) => one.type === type)
      ? []
      : [`linux.namespaces has no ${type} namespace, which asks for this host's: ${instead}`],
  );
}

function mountWarnings(mounts: readonly LooseMount[], binds: readonly BindMount[]): string[] {
  const shared = mounts.flatMap(({ destination, options }, i) => {
    const isBind = binds.some(({ mount }) => mount === i);
    if (!isBind || !options?.some((name) => /^r?shared$/.test(name))) return [];
    return [`mounts[${i}] (${destination}) is shared, but what the container mounts there stays in the VM`];
  });
  const special = binds.flatMap(({ mount, source }) => {
    const why = unusable(source);
    return why === undefined ? [] : [`mounts[${mount}] (${mounts[mount]?.destination}): ${source} ${why}`];
  });
  return [...shared, ...special];
}

function unusable(source: string): string | undefined {
  const stat = statSync(source);
  if (stat.isSocket()) return 'is a socket of this host: it can be seen inside the VM, but not connected to';
  if (stat.isFIFO()) return 'is a pipe of this host: inside the VM nobody is at its other end';
  const type = stat.isCharacterDevice() ? 'c' : stat.isBlockDevice() ? 'b' : undefined;
  if (type === undefined) return undefined;
  // Larger numbers than these belong to no device of the table (sys/sysmacros.h).
  const [major, minor] = [stat.rdev >> 8, stat.rdev & 0xff];
  if (meansTheSameInVm({ type, major, minor })) return undefined;
  return 'is a device of this host, which does not exist inside the VM';
}

const noMeaning = 'the VM has a kernel of its own, without that policy';
const hint = "it is a hint to this host's scheduler, and the process runs in the guest";
const cgroupV1 = 'it is of cgroup v1, and the guest has v2';

const ignored: readonly (readonly [field: string, read: (config: LooseConfig) => unknown, why: string])[] = [
  ['vm', (c) => c.vm, 'CORACLE_IMAGE says what the VM is made of'],
  [
    'process.apparmorProfile',
    ({ process }) => process?.apparmorProfile !== 'unconfined' && process?.apparmorProfile,
    noMeaning,
  ],
  ['process.selinuxLabel', (c) => c.process?.selinuxLabel, noMeaning],
  ['linux.mountLabel', (c) => c.linux?.mountLabel, noMeaning],
  ['process.scheduler', (c) => c.process?.scheduler, hint],
  ['process.ioPriority', (c) => c.process?.ioPriority, hint],
  ['process.execCPUAffinity', (c) => c.process?.execCPUAffinity, hint],
  ['linux.intelRdt', (c) => c.linux?.intelRdt, 'a VM has no Intel RDT'],
  ['linux.memoryPolicy', (c) => c.linux?.memoryPolicy, 'a VM has one memory node'],
  [
    'linux.resources.memory.swappiness',
    ({ linux }) => (linux?.resources?.memory?.swappiness ?? -1) >= 0,
    cgroupV1,
  ],
  ['linux.resources.memory.disableOOMKiller', (c) => c.linux?.resources?.memory?.disableOOMKiller, cgroupV1],
  ['linux.resources.cpu.realtimeRuntime', (c) => c.linux?.resources?.cpu?.realtimeRuntime, cgroupV1],
  ['linux.resources.cpu.realtimePeriod', (c) => c.linux?.resources?.cpu?.realtimePeriod, cgroupV1],
  ['linux.resources.hugepageLimits', (c) => c.linux?.resources?.hugepageLimits, 'a VM has no huge pages'],
  ['linux.resources.network.classID', (c) => c.linux?.resources?.network?.classID, cgroupV1],
  ['linux.resources.network.priorities', (c) => c.linux?.resources?.network?.priorities, cgroupV1],
  ['linux.resources.rdma', (c) => c.linux?.resources?.rdma, 'a VM has no RDMA devices'],
];

export const ignoredFields = ignored.map(([field]) => field);

/** Not absent, empty, false or zero, which ask for nothing. */
function isSet(value: unknown): boolean {
  if (value === undefined || value === null || value === false || value === 0 || value === '') return false;
  return typeof value !== 'object' || Object.keys(value).length > 0;
}
