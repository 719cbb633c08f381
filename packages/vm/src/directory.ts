import { join } from 'node:path';
import { hybridListenPath, LINK_RECORD, LINK_SOCKET } from '@coracle/sys';
import { VmError } from './errors.ts';

/**
 * The files of one virtual machine, all in the sandbox's own folder:
 *
 *     vm.json            the record: what was started, with pids and their start times
 *     link.sock          the virtio-serial port of the agent (QEMU listens, the proxy connects)
 *     link.json          where else the link is: AF_VSOCK, or hybrid vsock over vsock.sock (packages/sys, link-address.ts)
 *     qmp.sock           QEMU's monitor; one client at a time
 *     fs-<tag>.sock      vhost-user socket between QEMU and one virtiofsd
 *     share-<tag>/       empty on the host; what the guest sees is mounted on it in a private namespace
 *     console.log        the guest's serial console
 *     qemu.log           QEMU's stdout and stderr; fs-<tag>.log and agent.log likewise
 *     qemu.pid           QEMU's own pid file
 */
export interface VmPaths {
  readonly directory: string;
  readonly record: string;
  readonly link: string;
  readonly linkRecord: string;
  /** Hybrid vsock: the VMM's socket, and the one on which the guest's connections arrive. */
  readonly hybrid: string;
  hybridListen(port: number): string;
  readonly qmp: string;
  readonly console: string;
  readonly qemuLog: string;
  readonly agentLog: string;
  readonly pidFile: string;
  fsSocket(tag: string): string;
  fsLog(tag: string): string;
  share(tag: string): string;
}

export function vmPaths(directory: string): VmPaths {
  return {
    directory,
    record: join(directory, 'vm.json'),
    link: join(directory, LINK_SOCKET),
    linkRecord: join(directory, LINK_RECORD),
    hybrid: join(directory, 'vsock.sock'),
    hybridListen: (port) => hybridListenPath({ path: join(directory, 'vsock.sock'), port }),
    qmp: join(directory, 'qmp.sock'),
    console: join(directory, 'console.log'),
    qemuLog: join(directory, 'qemu.log'),
    agentLog: join(directory, 'agent.log'),
    pidFile: join(directory, 'qemu.pid'),
    fsSocket: (tag) => join(directory, `fs-${tag}.sock`),
    fsLog: (tag) => join(directory, `fs-${tag}.log`),
    share: (tag) => join(directory, `share-${tag}`),
  };
}

/** `sun_path` of `struct sockaddr_un` has 108 bytes (linux/un.h), the last of them for the final NUL. */
export const maxSocketPathBytes = 107;

/** @throws VmError `path-too-long`; the kernel would only say EINVAL, and some libraries cut the path. */
export function checkSocketPath(path: string): string {
  const bytes = Buffer.byteLength(path);
  if (bytes > maxSocketPathBytes) {
    throw new VmError(
      'path-too-long',
      `the unix socket path ${path} has ${bytes} bytes; Linux allows ${maxSocketPathBytes}`,
      {
        remedy: `Use a state folder (--root) whose path is at least ${bytes - maxSocketPathBytes} bytes shorter.`,
      },
    );
  }
  return path;
}
