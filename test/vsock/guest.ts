/**
 * A VM whose guest has AF_VSOCK to itself (module vsock_loopback), and in it a privileged container that sees this
 * machine's programs and the checkout, read-only: agent, proxy and tests run there as the same files as here.
 *
 * Hosts that these tests run on have no /dev/vhost-vsock, and no loopback: the guest's kernel has.
 */
import { existsSync, lstatSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Container, Coracle, type OciConfig, type VmDriverLike } from '@coracle/client';
import { ProxyServer } from '@coracle/proxy';
import { bootFailure, createQemuDriver } from '@coracle/vm';

export const checkout = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/** Shown to the guest as they are here. */
const hostFolders = ['/usr', '/etc', '/bin', '/sbin', '/lib', '/lib64', checkout];
const memoryBytes = 2048 * 2 ** 20;
const tag = 'machine';

export interface GuestRun {
  readonly code: number;
  readonly output: string;
}

/** Pid 1 has to reap what loses its parent, or a process that was killed would be there for ever: Node does not. */
const init = ['/bin/sh', '-c', '"$@"; exit $?', 'sh'];

interface Bind {
  readonly source: string;
  readonly destination: string;
  readonly readonly: boolean;
}

/** Runs one command in such a guest, with `results` as a folder that both sides write. */
export async function runInGuest(
  args: readonly string[],
  options: { image: string; results: string; onOutput?: (text: string) => void },
): Promise<GuestRun> {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-vsock-'));
  const proxySocket = join(folder, 'proxy.sock');
  const sandboxes = join(folder, 'sandboxes');
  const proxy = new ProxyServer({ sandboxes });
  await proxy.listen(proxySocket);
  try {
    const skeleton = makeSkeleton(join(folder, 'root'));
    const coracle = new Coracle({ proxy: proxySocket, sandboxes });
    const binds: Bind[] = [
      ...skeleton.folders.map((path) => ({ source: path, destination: path, readonly: true })),
      { source: options.results, destination: '/results', readonly: false },
    ];
    const named = binds.map(({ source, readonly }, at) => ({ name: `mounts/${at}`, source, readonly }));
    await using sandbox = await coracle.startSandbox({
      vm: driver(),
      image: options.image,
      memoryBytes,
      vcpus: 1,
      shares: [{ tag, binds: [{ name: 'rootfs', source: skeleton.root }, ...named] }],
      bootFailure,
    });
    const container = await sandbox.createContainer({
      id: 'machine',
      config: machineConfig([...init, ...args], binds),
      rootfs: { share: tag, path: 'rootfs' },
      bindSources: named.map(({ name }, at) => ({
        mount: machineMounts.length + at,
        share: tag,
        path: name,
      })),
    });
    return await runToEnd(container, options.onOutput);
  } finally {
    await proxy.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** QEMU with a word more for the kernel: /init loads the loopback. */
function driver(): VmDriverLike {
  const qemu = createQemuDriver({ template: 'off' });
  return {
    name: qemu.name,
    start: (spec, options) =>
      qemu.start({ ...spec, kernelArguments: ['coracle.modules=vsock_loopback'] }, options),
  };
}

/** A root folder with nothing but places to mount on; where this machine has a link, there is the same link. */
function makeSkeleton(root: string): { root: string; folders: string[] } {
  for (const name of ['proc', 'sys', 'dev', 'tmp', 'run', 'results', 'root'])
    mkdirSync(join(root, name), { recursive: true });
  const folders: string[] = [];
  for (const path of hostFolders) {
    if (!existsSync(path)) continue;
    if (lstatSync(path).isSymbolicLink()) {
      symlinkSync(readlinkSync(path), join(root, path));
      continue;
    }
    mkdirSync(join(root, path), { recursive: true });
    folders.push(path);
  }
  return { root, folders };
}

const tmpfs = (destination: string, ...options: string[]) => ({
  destination,
  type: 'tmpfs',
  source: 'tmpfs',
  options,
});

const machineMounts = [
  { destination: '/proc', type: 'proc', source: 'proc' },
  { destination: '/sys', type: 'sysfs', source: 'sysfs' },
  { destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup' },
  tmpfs('/dev', 'nosuid', 'mode=755'),
  {
    destination: '/dev/pts',
    type: 'devpts',
    source: 'devpts',
    options: ['newinstance', 'ptmxmode=0666', 'mode=0620'],
  },
  tmpfs('/dev/shm'),
  tmpfs('/tmp', 'mode=1777'),
  tmpfs('/run', 'mode=755'),
  tmpfs('/root', 'mode=700'),
];

const bindMount = ({ destination, readonly }: Bind) => ({
  destination,
  type: 'bind',
  source: destination,
  options: ['rbind', readonly ? 'ro' : 'rw'],
});

function machineConfig(args: readonly string[], binds: readonly Bind[]): OciConfig {
  const capabilities = everyCapability();
  return {
    ociVersion: '1.0.2',
    hostname: 'machine',
    process: {
      args,
      env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'HOME=/root', 'NO_COLOR=1'],
      cwd: checkout,
      user: { uid: 0, gid: 0 },
      capabilities: {
        bounding: capabilities,
        effective: capabilities,
        permitted: capabilities,
        inheritable: [],
      },
    },
    root: { path: 'rootfs' },
    // The checkout may lie below /tmp, so the binds come last.
    mounts: [...machineMounts, ...binds.map(bindMount)],
    linux: {
      namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }],
      // Where the local driver's containers mount their own /proc.
      maskedPaths: [],
      readonlyPaths: [],
    },
  };
}

/** linux/capability.h: the local driver's crun needs most of them. */
function everyCapability(): string[] {
  return (
    'CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_ADMIN NET_RAW ' +
    'IPC_LOCK SYS_CHROOT SYS_PTRACE SYS_ADMIN SYS_RESOURCE SYS_TTY_CONFIG MKNOD SETFCAP'
  )
    .split(' ')
    .map((name) => `CAP_${name}`);
}

async function runToEnd(
  container: Container,
  onOutput: (text: string) => void = () => {},
): Promise<GuestRun> {
  let output = '';
  for (const stream of [container.process.stdout, container.process.stderr]) {
    stream.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      onOutput(text);
    });
  }
  await container.start();
  const { code } = await container.process.wait();
  return { code, output };
}
