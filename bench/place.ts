/**
 * One container in one VM for all benchmarks that need a running one. `coracle run --detach` makes it, so the
 * command line can exec in it; the library connects to the same sandbox through the same proxy.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { type Container, Coracle, ensureProxy, type Sandbox } from '@coracle/client';
import { close, connectUnix, kill, peerCredentials, waitForExit } from '@coracle/sys';
import { stopVm } from '@coracle/vm';
import { debianRoot, coracle as program, writeBundle } from '../scripts/bundle.ts';

const proxyProgram = path.join(path.dirname(import.meta.dirname), 'bin/coracle-proxy');

export class Place implements AsyncDisposable {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'coracle-bench-'));
  readonly rootfs = debianRoot();
  readonly #containers: string[] = [];
  readonly #children = new Set<ChildProcess>();

  get run(): string {
    return path.join(this.folder, 'run');
  }
  get proxySocket(): string {
    return path.join(this.run, 'proxy.sock');
  }
  /** Folders of VMs. */
  get sandboxes(): string {
    return path.join(this.run, 'sandboxes');
  }

  /** Everything that `coracle` makes is below the folder. */
  get env(): NodeJS.ProcessEnv {
    return { ...process.env, CORACLE_TEMPLATE: 'off', CORACLE_RUN: this.run };
  }

  arguments(...args: readonly string[]): string[] {
    return ['--root', path.join(this.folder, 'state'), ...args];
  }

  spawn(
    args: readonly string[],
    stdio: ('pipe' | 'ignore' | 'inherit')[],
    env: NodeJS.ProcessEnv = {},
  ): ChildProcess {
    const child = spawn(program, this.arguments(...args), { env: { ...this.env, ...env }, stdio });
    this.#children.add(child);
    child.once('exit', () => this.#children.delete(child));
    return child;
  }

  /** @returns ms from the command to its exit code. @throws Error when that is not 0 */
  async time(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<number> {
    const start = performance.now();
    const child = this.spawn(args, ['ignore', 'ignore', 'inherit'], env);
    const code = await exitOf(child);
    if (code !== 0) throw new Error(`coracle ${args.join(' ')} ended with ${code}`);
    return performance.now() - start;
  }

  bundle(name: string, args: readonly string[]): string {
    const folder = path.join(this.folder, 'bundles', name);
    mkdirSync(folder, { recursive: true });
    writeBundle(folder, this.rootfs, { args, hostname: name });
    return folder;
  }

  /** A container that sleeps, and the library's view of it. */
  async container(id: string): Promise<{ sandbox: Sandbox; container: Container }> {
    const bundle = this.bundle(id, ['sleep', '1000000']);
    this.#containers.push(id);
    await this.time(['run', '--detach', '--bundle', bundle, id]);
    const state = JSON.parse(readFileSync(path.join(this.folder, 'state', id, 'state.json'), 'utf8'));
    const command = [proxyProgram, '--socket', this.proxySocket, '--sandboxes', this.sandboxes];
    const coracle = new Coracle({
      proxy: this.proxySocket,
      sandboxes: this.sandboxes,
      startProxy: () => ensureProxy({ socketPath: this.proxySocket, command }),
    });
    const sandbox = await coracle.connect(state.sandboxId);
    const config = JSON.parse(readFileSync(path.join(bundle, 'config.json'), 'utf8'));
    return { sandbox, container: sandbox.container(id, config) };
  }

  /** The pid of the proxy that listens now. */
  proxyPid(): number {
    return listenerOf(this.proxySocket);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) child.kill('SIGKILL');
    for (const id of this.#containers) await this.time(['delete', '--force', id]).catch(() => undefined);
    // What a benchmark that failed may have left.
    for (const name of filesIn(this.sandboxes)) await stopVm(path.join(this.sandboxes, name), true);
    await stopProxy(this.proxySocket);
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function exitOf(child: ChildProcess): Promise<number> {
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code) => resolve(code ?? 255));
  });
}

export function filesIn(folder: string): string[] {
  return existsSync(folder) ? readdirSync(folder) : [];
}

/** It would end by itself, but only some seconds after its folder has gone. */
async function stopProxy(socketPath: string): Promise<void> {
  if (!existsSync(socketPath)) return;
  const pid = listenerOf(socketPath);
  kill(pid, 'SIGTERM');
  await waitForExit(pid);
}

/** Who listens on a unix socket: its pid. */
export function listenerOf(socketPath: string): number {
  const fd = connectUnix(socketPath);
  try {
    return peerCredentials(fd).pid;
  } finally {
    close(fd);
  }
}
