/** A place for tests of the local tier: a run folder, a root file system of busybox, and the real proxy and agent. */
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Coracle, ensureProxy, type OciConfig, type Sandbox } from '@coracle/client';
import { createLocalDriver } from '@coracle/vm';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const agentEntry = join(repository, 'packages/agent/src/main.ts');
const proxyEntry = join(repository, 'packages/proxy/src/main.ts');
const applets = [
  'sh',
  'cat',
  'echo',
  'head',
  'seq',
  'sha256sum',
  'sleep',
  'stty',
  'true',
  'false',
  'yes',
  'dd',
  'env',
  'id',
];

export interface LocalPlace extends AsyncDisposable {
  readonly coracle: Coracle;
  readonly directory: string;
  readonly proxySocket: string;
  /** Starts a sandbox; the rootfs is `rootfs` below the share `host`. */
  startSandbox(): Promise<Sandbox>;
  ensureProxy(): Promise<void>;
  proxyPids(): number[];
  /** kill -9 of the proxy that listens now; resolves when it is gone. */
  killProxy(): Promise<void>;
}

export async function makeLocalPlace(): Promise<LocalPlace> {
  const directory = mkdtempSync(join(tmpdir(), 'coracle-'));
  const rootfs = join(directory, 'rootfs');
  for (const name of ['bin', 'dev', 'proc', 'sys', 'tmp']) mkdirSync(join(rootfs, name), { recursive: true });
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
  for (const applet of applets) symlinkSync('busybox', join(rootfs, 'bin', applet));
  const proxySocket = join(directory, 'proxy.sock');
  const sandboxes = join(directory, 'sandboxes');
  const command = [process.execPath, proxyEntry, '--socket', proxySocket, '--sandboxes', sandboxes];
  const startProxy = () => ensureProxy({ socketPath: proxySocket, command });
  const coracle = new Coracle({ proxy: proxySocket, startProxy });
  const killProxy = async (): Promise<void> => {
    const pids = pidsOf(proxySocket);
    for (const pid of pids) process.kill(pid, 'SIGKILL');
    // These only: whoever is connected may have started the next one already.
    await until(() => pids.every((pid) => !existsSync(`/proc/${pid}`)), 'the proxy is gone');
  };
  return {
    coracle,
    directory,
    proxySocket,
    startSandbox: () =>
      coracle.startSandbox({
        vm: createLocalDriver({ agentEntry }),
        shares: [{ tag: 'host', binds: [{ name: 'rootfs', source: rootfs }] }],
      }),
    ensureProxy: startProxy,
    proxyPids: () => pidsOf(proxySocket),
    killProxy,
    async [Symbol.asyncDispose]() {
      await killProxy();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** The configuration of a container that runs `args`. */
export function containerConfig(args: readonly string[], process: OciConfig['process'] = {}): OciConfig {
  return {
    ociVersion: '1.0.2',
    process: { args, env: ['PATH=/bin'], cwd: '/', user: { uid: 0, gid: 0 }, ...process },
    root: { path: 'rootfs' },
    mounts: [
      { destination: '/proc', type: 'proc', source: 'proc' },
      { destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'mode=755'] },
      {
        destination: '/dev/pts',
        type: 'devpts',
        source: 'devpts',
        options: ['newinstance', 'ptmxmode=0666'],
      },
    ],
    linux: { namespaces: [{ type: 'pid' }, { type: 'mount' }, { type: 'ipc' }, { type: 'uts' }] },
  };
}

/** Processes of this test, found by an argument that nobody else has. */
function pidsOf(argument: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(argument);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** Waits for a condition. @throws Error after 20 s, naming what did not come true */
export async function until(condition: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 20_000;
  while (!(await condition())) {
    if (performance.now() > deadline) throw new Error(`waited 20 s in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
