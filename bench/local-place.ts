/**
 * Sandboxes of the local driver behind the real proxy: agents as processes of this host, no VM. What is measured here
 * is the stream path alone.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Container, Coracle, ensureProxy, type OciConfig, type Sandbox } from '@coracle/client';
import { waitForExit } from '@coracle/sys';
import { createLocalDriver } from '@coracle/vm';
import { debianRoot, writeBundle } from '../scripts/bundle.ts';
import { listenerOf } from './place.ts';

const root = path.dirname(import.meta.dirname);
const proxyProgram = path.join(root, 'bin/coracle-proxy');

export class LocalPlace implements AsyncDisposable {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'coracle-bench-'));
  readonly socketPath = path.join(this.folder, 'proxy.sock');
  readonly coracle = new Coracle({ proxy: this.socketPath, startProxy: () => this.startProxy() });
  readonly #undo = new AsyncDisposableStack();
  readonly #rootfs = debianRoot();
  #config: OciConfig | undefined;

  get #command(): string[] {
    const sandboxes = path.join(this.folder, 'sandboxes');
    return [proxyProgram, ...['--socket', this.socketPath, '--sandboxes', sandboxes, '--log-level', 'warn']];
  }

  async startProxy(): Promise<void> {
    await ensureProxy({ socketPath: this.socketPath, command: this.#command });
  }

  /** The pid of the proxy that listens now. */
  proxyPid(): number {
    return listenerOf(this.socketPath);
  }

  /** ms that a proxy of its own takes from its start to `ready`, with nobody to serve. */
  async timeProxyStart(): Promise<number> {
    const own = path.join(this.folder, 'own');
    const start = performance.now();
    const child = spawn(proxyProgram, ['--socket', own, '--sandboxes', own, '--log-level', 'warn'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(child.stdout, 'data');
    const ms = performance.now() - start;
    await killed(child);
    return ms;
  }

  /** A sandbox with a container in it that sleeps. */
  async container(): Promise<{ sandbox: Sandbox; container: Container }> {
    const sandbox = await this.coracle.startSandbox({
      vm: createLocalDriver({ agentEntry: path.join(root, 'dist/agent/agent.js') }),
      shares: [{ tag: 'host', binds: [{ name: 'rootfs', source: this.#rootfs }] }],
    });
    this.#undo.use(sandbox);
    const container = await sandbox.createContainer({
      id: 'c',
      config: this.#sleeper(),
      rootfs: { share: 'host', path: 'rootfs' },
    });
    await container.start();
    return { sandbox, container };
  }

  #sleeper(): OciConfig {
    if (this.#config === undefined) {
      const bundle = path.join(this.folder, 'bundle');
      writeBundle(bundle, this.#rootfs, { args: ['sleep', '1000000'] });
      this.#config = JSON.parse(readFileSync(path.join(bundle, 'config.json'), 'utf8')) as OciConfig;
    }
    return this.#config;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#undo.disposeAsync();
    const pid = this.proxyPid();
    process.kill(pid, 'SIGKILL');
    await waitForExit(pid);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

async function killed(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}
