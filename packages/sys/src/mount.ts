import { SysError } from './error.ts';
import { lastErrno, libc } from './libc.ts';

const cMount = libc('int mount(str source, str target, str type, ulong flags, str data)');
const cChroot = libc('int chroot(str path)');
const cUmount2 = libc('int umount2(str target, int flags)');

/** linux/mount.h, under the option names of mount(8). */
const FLAGS = {
  ro: 1 << 0,
  nosuid: 1 << 1,
  nodev: 1 << 2,
  noexec: 1 << 3,
  sync: 1 << 4,
  remount: 1 << 5,
  dirsync: 1 << 7,
  nosymfollow: 1 << 8,
  noatime: 1 << 10,
  nodiratime: 1 << 11,
  bind: 1 << 12,
  move: 1 << 13,
  rec: 1 << 14,
  silent: 1 << 15,
  unbindable: 1 << 17,
  private: 1 << 18,
  slave: 1 << 19,
  shared: 1 << 20,
  relatime: 1 << 21,
  strictatime: 1 << 24,
  lazytime: 1 << 25,
} as const;

export type MountFlag = keyof typeof FLAGS;

/**
 * mount(2). `data` holds the options of the file system, such as 'mode=755,size=64m'.
 * For a propagation change or a remount, source and type are ignored by the kernel: give null.
 */
export function mount(
  source: string | null,
  target: string,
  type: string | null,
  flags: readonly MountFlag[] = [],
  data: string | null = null,
): void {
  const mask = flags.reduce((sum, flag) => sum | FLAGS[flag], 0);
  if (cMount(source, target, type, mask, data) === 0) return;
  const what = [
    type,
    source && `from ${source}`,
    flags.length > 0 && `with ${flags.join(',')}`,
    data && `(${data})`,
  ];
  throw new SysError(lastErrno(), 'mount', [target, ...what.filter(Boolean)].join(' '));
}

/** umount2.h of glibc's sys/mount.h */
const MNT_FORCE = 1;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;

/** umount2(2), never following a symbolic link at `target`. Detached, it goes away when nobody uses it. */
export function unmount(target: string, options: { detach?: boolean; force?: boolean } = {}): void {
  const flags = UMOUNT_NOFOLLOW | (options.detach ? MNT_DETACH : 0) | (options.force ? MNT_FORCE : 0);
  if (cUmount2(target, flags) !== 0) throw new SysError(lastErrno(), 'umount2', target);
}

/** chroot(2). The working directory stays where it is. */
export function chroot(path: string): void {
  if (cChroot(path) !== 0) throw new SysError(lastErrno(), 'chroot', path);
}
