/** A place for tests of the local tier: a run folder, a root file system of busybox, and the real proxy and agent. */
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Container, Coracle, ensureProxy, type Sandbox } from '@coracle/client';
import { createLocalDriver } from '@coracle/vm';
import { containerConfig } from '../support/config.ts';
import { allProcesses } from '../support/processes.ts';
import { makeRootfs } from '../support/rootfs.ts';
import { until } from '../support/wait.ts';

export { containerConfig, until };

const repository = fileURLToPath(new URL('../..', import.meta.url));
const agentEntry = join(repository, 'packages/agent/src/main.ts');
const proxyEntry = join(repository, 'packages/proxy/src/main.ts');

export interface LocalPlace extends AsyncDisposable {
  readonly coracle: Coracle;
  readonly directory: string;
  readonly proxySocket: string;
  /** The proxy's program and its arguments. */
  readonly proxyCommand: readonly string[];
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
  makeRootfs(rootfs);
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
    proxyCommand: command,
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

/** One that runs and does nothing, for execs. */
export async function startIdle(sandbox: Sandbox, id: string): Promise<Container> {
  const config = containerConfig(['sleep', '100000']);
  const container = await sandbox.createContainer({ id, config, rootfs: { share: 'host', path: 'rootfs' } });
  await container.start();
  return container;
}

/** Processes of this test, found by an argument that nobody else has. */
function pidsOf(argument: string): number[] {
  return allProcesses()
    .filter(({ commandLine }) => commandLine.split('\0').includes(argument))
    .map(({ pid }) => pid);
}
