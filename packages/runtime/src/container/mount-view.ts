/**
 * What the mount namespace of a container's pid shows. The pid is the shim's, and engines take its namespaces for
 * the container's: `podman cp` enters its mount namespace and copies there, which was the host's.
 *
 * So the shim gets one of its own, in which the container's root, with its volumes, is mounted on top of "/".
 * Whoever enters it has the topmost mount for its root (setns(2); mntns_install of fs/namespace.c follows mounts);
 * the shim, which was there before, keeps the root below and sees the host's files. Mounts that exist only in the
 * guest (tmpfs, proc) are not in it.
 */
import { lstatSync, readlinkSync } from 'node:fs';
import { join, normalize } from 'node:path';
import { errnoCode } from '../cli/errors.ts';
import type { Bundle } from '../spec/bundle.ts';

export interface MountView {
  /** Absolute. */
  readonly rootfs: string;
  readonly binds: readonly { readonly source: string; readonly target: string }[];
}

/** The guest's mount points have been made by then: call it when the container has been created, and not started. */
export function mountView({ rootfs, spec, binds }: Bundle): MountView | undefined {
  // Mounting wants root, and so do the engines that enter the namespace.
  if (process.geteuid!() !== 0) return undefined;
  return {
    rootfs,
    binds: binds.flatMap(({ mount, source }) => {
      const target = resolveInRoot(rootfs, spec.mounts?.[mount]?.destination ?? '/');
      return target === undefined ? [] : [{ source, target }];
    }),
  };
}

const script = [
  'PATH=/usr/bin:/bin; root=$1; n=$2; shift 2',
  // A volume on a mount that only the guest has is not to be had here.
  'while [ "$n" -gt 0 ]; do mount -n --rbind -- "$1" "$2" 2>/dev/null; shift 2; n=$((n-1)); done',
  'mount -n --rbind -- "$root" / || exit 126',
  'exec "$@"',
].join('\n');

/** The command line that starts a program with this view. */
export function withMountView(view: MountView | undefined, command: readonly string[]): readonly string[] {
  if (view === undefined) return command;
  const binds = view.binds.flatMap(({ source, target }) => [source, target]);
  return [
    ...['/usr/bin/unshare', '--mount', '--propagation', 'slave', '/bin/sh', '-c', script, 'sh'],
    ...[view.rootfs, String(view.binds.length), ...binds, ...command],
  ];
}

/** As many as the kernel follows (path_resolution(7)). */
const maxLinks = 40;

/**
 * Where a path of the container lies on the host, with symbolic links taken as the container takes them: an image may
 * have links that lead out of its root for anybody else.
 * @returns undefined when there is nothing
 */
export function resolveInRoot(root: string, path: string): string | undefined {
  const left = split(path);
  let found: string[] = [];
  for (let links = 0; left.length > 0; ) {
    const name = left.shift()!;
    if (name === '..') {
      found = found.slice(0, -1);
      continue;
    }
    const here = join(root, ...found, name);
    try {
      if (lstatSync(here).isSymbolicLink()) {
        if (++links > maxLinks) return undefined;
        const target = readlinkSync(here);
        if (target.startsWith('/')) found = [];
        left.unshift(...split(target));
      } else found.push(name);
    } catch (error) {
      if (['ENOENT', 'ENOTDIR'].includes(errnoCode(error) ?? '')) return undefined;
      throw error;
    }
  }
  return normalize(join(root, ...found));
}

const split = (path: string) => path.split('/').filter((name) => name !== '' && name !== '.');
