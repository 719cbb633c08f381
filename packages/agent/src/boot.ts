/**
 * What pid 1 does before anything else: a table of steps. Where the kernel mounts the root by itself there are only
 * the root and /dev; an initramfs (packages/image) has mounted /proc and /sys too. A mount that is there is left alone.
 */
import { existsSync, mkdirSync, readFileSync, statfsSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { chroot, type MountFlag, mount, setHostname, setInterfaceUp, setResourceLimit } from '@coracle/sys';

interface Mount {
  readonly target: string;
  readonly type: string;
  readonly flags: readonly MountFlag[];
  readonly data?: string;
}

const safe: readonly MountFlag[] = ['nosuid', 'nodev', 'noexec'];

const mounts: readonly Mount[] = [
  { target: '/proc', type: 'proc', flags: safe },
  { target: '/sys', type: 'sysfs', flags: safe },
  { target: '/dev', type: 'devtmpfs', flags: ['nosuid'], data: 'mode=755' },
  { target: '/dev/pts', type: 'devpts', flags: ['nosuid', 'noexec'], data: 'mode=620,gid=5,ptmxmode=666' },
  { target: '/dev/shm', type: 'tmpfs', flags: ['nosuid', 'nodev'], data: 'mode=1777' },
  // Bundles and crun's state. Not noexec: containers' mounts below it would inherit nothing good from it.
  { target: '/run', type: 'tmpfs', flags: ['nosuid', 'nodev'], data: 'mode=755' },
  { target: '/tmp', type: 'tmpfs', flags: ['nosuid', 'nodev'], data: 'mode=1777' },
  { target: '/var', type: 'tmpfs', flags: ['nosuid', 'nodev'], data: 'mode=755' },
  { target: '/sys/fs/cgroup', type: 'cgroup2', flags: safe, data: 'nsdelegate' },
];

const deviceLinks: readonly (readonly [link: string, target: string])[] = [
  ['/dev/fd', '/proc/self/fd'],
  ['/dev/stdin', '/proc/self/fd/0'],
  ['/dev/stdout', '/proc/self/fd/1'],
  ['/dev/stderr', '/proc/self/fd/2'],
];

/** As Docker's daemon has it: what a container's process may open unless its config.json says otherwise. */
const OPEN_FILES = 1_048_576n;

interface Step {
  readonly name: string;
  run(): void;
}

export const bootSteps: readonly Step[] = [
  { name: 'root', run: leaveRootfs },
  ...mounts.map((one) => ({ name: `mount ${one.target}`, run: () => mountOnce(one) })),
  { name: 'device links', run: linkDevices },
  { name: 'cgroup controllers', run: enableControllers },
  { name: 'loopback', run: () => setInterfaceUp('lo') },
  { name: 'hostname', run: () => setHostname('coracle') },
  { name: 'file limit', run: () => setResourceLimit(0, 'nofile', { soft: OPEN_FILES, hard: OPEN_FILES }) },
];

/** linux/magic.h: what an initramfs is unpacked into. */
const MEMORY_FILE_SYSTEMS = [0x858458f6, 0x01021994];
/** An empty folder that every image has. */
const ASIDE = '/mnt';

/**
 * An image in one initramfs: its root is the kernel's first mount, from which no container can pivot away
 * (pivot_root(2), EINVAL). The same files mounted once more, on top of it, are a root like any other.
 */
function leaveRootfs(): void {
  if (!MEMORY_FILE_SYSTEMS.includes(statfsSync('/').type)) return;
  mount('/', ASIDE, null, ['bind']);
  process.chdir(ASIDE);
  mount(ASIDE, '/', null, ['move']);
  chroot('.');
  process.chdir('/');
}

function mountOnce({ target, type, flags, data }: Mount): void {
  if (isMounted(target)) return;
  // Below a tmpfs or devtmpfs the mount point may be missing; on the read-only root it must be there.
  if (!existsSync(target)) mkdirSync(target, { recursive: true });
  mount(type, target, type, flags, data ?? null);
}

/** The root itself may be on a path of the table when the agent runs elsewhere, so ask the kernel. */
function isMounted(target: string): boolean {
  let table: string;
  try {
    table = readFileSync('/proc/self/mountinfo', 'utf8');
  } catch {
    return false;
  }
  return table.split('\n').some((line) => line.split(' ')[4] === target);
}

function linkDevices(): void {
  for (const [link, target] of deviceLinks) if (!existsSync(link)) symlinkSync(target, link);
}

/** For the root and for our own tree, so that every container can have limits. */
function enableControllers(): void {
  const root = '/sys/fs/cgroup';
  const controllers = readFileSync(join(root, 'cgroup.controllers'), 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map((controller) => `+${controller}`)
    .join(' ');
  const tree = join(root, 'coracle');
  mkdirSync(tree, { recursive: true });
  for (const folder of [root, tree]) writeFileSync(join(folder, 'cgroup.subtree_control'), controllers);
}
