/** The proxy of a sandbox: one for all by default, one for each where isolation matters more than memory. */
import { rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { close, connectUnix, hasCode, kill, peerCredentials, waitForExit } from '@coracle/sys';
import { rootProcsFiles } from '../cgroup/cgroup.ts';
import { program, type Settings } from '../host/settings.ts';

export interface ProxyPlace {
  readonly socketPath: string;
  /** The folder that holds the sandboxes' folders. */
  readonly sandboxes: string;
  /** Set when this proxy serves one sandbox only. */
  readonly only?: string;
}

export function sandboxesFolder(runDirectory: string): string {
  return join(runDirectory, 'sandboxes');
}

export function proxyPlace(
  settings: Pick<Settings, 'runDirectory' | 'proxy'>,
  sandboxId: string,
): ProxyPlace {
  const sandboxes = sandboxesFolder(settings.runDirectory);
  if (settings.proxy === 'shared')
    return { socketPath: join(settings.runDirectory, 'proxy.sock'), sandboxes };
  return { socketPath: ownSocket(settings.runDirectory, sandboxId), sandboxes, only: sandboxId };
}

/** Not in the sandbox's own folder, which is made when its proxy is starting already. */
function ownSocket(runDirectory: string, sandboxId: string): string {
  return join(runDirectory, 'proxies', `${sandboxId}.sock`);
}

/** The same, from what a container's state says: its own environment may have been another than ours. */
export function proxyOf(state: {
  sandboxId: string;
  sandboxDirectory: string;
  proxySocket: string;
}): ProxyPlace {
  const own = state.proxySocket === ownSocket(dirname(dirname(state.sandboxDirectory)), state.sandboxId);
  return {
    socketPath: state.proxySocket,
    sandboxes: dirname(state.sandboxDirectory),
    ...(own ? { only: state.sandboxId } : {}),
  };
}

/** Resolves when a proxy listens, ours or one that was there. */
export async function startProxy(place: ProxyPlace): Promise<void> {
  const { ensureProxy } = await import('@coracle/client');
  const command = [program('coracle-proxy'), '--socket', place.socketPath, '--sandboxes', place.sandboxes];
  if (place.only !== undefined) command.push('--sandbox', place.only);
  await ensureProxy({ socketPath: place.socketPath, command, env: environment() });
}

/** What our own programs need of our environment; engines put secrets into the rest. */
export function environment(): Record<string, string> {
  const names = ['PATH', 'HOME', 'CORACLE_CACHE', 'XDG_CACHE_HOME', 'CORACLE_LOG', 'CORACLE_METRICS'];
  return Object.fromEntries(
    names.flatMap((name) => (process.env[name] === undefined ? [] : [[name, process.env[name]]])),
  );
}

/**
 * How a shim that finds no proxy starts one again: by bin/coracle-start-proxy, told by the environment. With the
 * proxy's own command line in its arguments the shim would be taken for a proxy by whoever looks for one.
 */
export function starterEnvironment(place: ProxyPlace): Record<string, string> {
  return {
    ...environment(),
    CORACLE_PROXY_SOCKET: place.socketPath,
    CORACLE_SANDBOXES: place.sandboxes,
    ...(place.only === undefined ? {} : { CORACLE_SANDBOX: place.only }),
    // A shim is in the cgroup of one VM, where a proxy for all must not stay.
    CORACLE_PROXY_CGROUPS: rootProcsFiles().join(' '),
  };
}

/** Ends the proxy of one sandbox and removes its files; the one that all share stays until nobody uses it. */
export async function stopOwnProxy(place: ProxyPlace): Promise<void> {
  if (place.only === undefined) return;
  const pid = listener(place.socketPath);
  if (pid !== undefined) {
    kill(pid, 'SIGTERM');
    await waitForExit(pid);
  }
  for (const suffix of ['', '.lock', '.log']) rmSync(place.socketPath + suffix, { force: true });
}

/** Who listens on the socket. */
function listener(socketPath: string): number | undefined {
  try {
    const fd = connectUnix(socketPath);
    try {
      return peerCredentials(fd).pid;
    } finally {
      close(fd);
    }
  } catch (error) {
    if (hasCode(error, 'ENOENT') || hasCode(error, 'ECONNREFUSED')) return undefined;
    throw error;
  }
}
