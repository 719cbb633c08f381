/** The network namespace of a container: where its shim lives, so that /proc/PID/ns/net of its pid is the container's. */
import { statSync } from 'node:fs';
import { inNetworkNamespace, inNewNetworkNamespace, setInterfaceUp } from '@coracle/sys';
import { CliError, messageOf } from '../cli/errors.ts';
import type { DriverName } from '../host/settings.ts';
import type { Spec } from '../spec/spec.ts';
import { hasTaps } from './read-network.ts';

export type NetworkNamespace =
  /** One of its own, as long as its shim lives. */
  | { readonly kind: 'new' }
  /** An engine has made it. The inode tells whether the path still stands for the same one later. */
  | { readonly kind: 'path'; readonly path: string; readonly inode: number }
  /** Without a VM: processes are in the namespace of whoever started the agent. */
  | { readonly kind: 'host' };

/**
 * linux.namespaces of config-linux.md.
 * @throws CliError for the host's network, for one that somebody else has, and for a path that is no namespace
 */
export function planNamespace(spec: Spec, driver: DriverName): NetworkNamespace {
  const listed = spec.linux?.namespaces?.find(({ type }) => type === 'network');
  if (listed === undefined) {
    if (driver === 'local') return { kind: 'host' };
    throw new CliError(
      "the container asks for the host's network (linux.namespaces has no network): a virtual machine cannot share it; " +
        'give it a network of its own and publish its ports, or run it with another runtime',
    );
  }
  if (listed.path === undefined || listed.path === '') return { kind: 'new' };
  const inode = namespaceInode(listed.path);
  if (driver !== 'local' && inode === namespaceInode('/proc/thread-self/ns/net'))
    throw new CliError(
      `the network namespace ${listed.path} is the one that coracle itself is in: a virtual machine cannot share it; ` +
        'give the container a network of its own and publish its ports, or run it with another runtime',
    );
  if (driver !== 'local') checkUnshared(listed.path);
  return { kind: 'path', path: listed.path, inode };
}

/**
 * A VM takes the interfaces of its namespace over, and has a loopback of its own: with it nobody else has a network there, and
 * nothing is shared. Engines name a namespace that another container has by that one's process.
 */
function checkUnshared(path: string): void {
  const pid = /^\/proc\/(\d+)\/ns\/net$/.exec(path)?.[1];
  const owner =
    pid !== undefined
      ? `process ${pid} has it already`
      : inNetworkNamespace(path, hasTaps)
        ? 'another virtual machine has it already'
        : undefined;
  if (owner === undefined) return;
  throw new CliError(
    `cannot share the network namespace ${path}: ${owner}; containers that share one would have to be in one virtual ` +
      'machine, which is not supported yet: connect them by a network, or run both with another runtime',
  );
}

function namespaceInode(path: string): number {
  try {
    return statSync(path).ino;
  } catch (cause) {
    throw new CliError(`cannot use the network namespace ${path} of linux.namespaces: ${messageOf(cause)}`, {
      cause,
    });
  }
}

/** Whether the path still stands for the namespace that it stood for. */
export function isSameNamespace({ path, inode }: { path: string; inode: number }): boolean {
  return statSync(path, { throwIfNoEntry: false })?.ino === inode;
}

/** Starts something in the namespace. @throws what `start` throws, SysError */
export function startIn<T>(namespace: NetworkNamespace, start: () => T): T {
  switch (namespace.kind) {
    case 'host':
      return start();
    case 'path':
      return inNetworkNamespace(namespace.path, start);
    case 'new':
      return inNewNetworkNamespace(() => {
        setInterfaceUp('lo');
        return start();
      });
  }
}
