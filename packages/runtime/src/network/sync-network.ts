/**
 * Gives a container's VM the network of its namespace: interfaces are plugged in and out until both have the same, then the agent
 * is told the rest. Idempotent, and quick when there is nothing to do: it is called after the hooks of `create`, before the
 * process is let go, and whenever the namespace has changed (docs/networking.md).
 */
import { join } from 'node:path';
import type { Sandbox } from '@coracle/client';
import { close, hasCode, inNetworkNamespace } from '@coracle/sys';
import type { Nics } from '@coracle/vm';
import { CliError, messageOf } from '../cli/errors.ts';
import type { Log } from '../cli/log.ts';
import { isAlive } from '../container/process-identity.ts';
import type { ContainerState, StateStore } from '../container/state.ts';
import { program } from '../host/settings.ts';
import { endNames, isServed, type NamesProcesses, serveNames } from './names.ts';
import { isSameNamespace } from './namespace.ts';
import { letNamesIn } from './own-kernel.ts';
import { type NamespaceNetwork, readNetwork, tapName } from './read-network.ts';
import { readNetworkRecord, writeNetworkRecord } from './record.ts';
import { joinTap, partTap, resizeTap } from './taps.ts';

/**
 * The caller holds the container's lock. Nothing is done for a container that has stopped, or that has no VM.
 * @param connect gives the sandbox, should it have to be told something
 * @throws CliError that names the interface
 */
export async function syncNetwork(
  store: StateStore,
  state: ContainerState,
  connect: () => Promise<Sandbox>,
): Promise<void> {
  if (state.driver === 'local' || state.shim === undefined || !isAlive(state.shim)) return;
  const namespace = `/proc/${state.shim.pid}/ns/net`;
  const found = inNetworkNamespace(namespace, readNetwork);
  const path = store.networkFile(state.id);
  const record = readNetworkRecord(path);
  const allJoined = found.links.every(({ index }) => found.taps.has(index));
  const nameless = found.nameServer && !isServed(record?.names);
  if (allJoined && !nameless && JSON.stringify(record?.told) === JSON.stringify(found.network)) return;
  // What has no interface, and never had one, needs nothing of the VM.
  if (record === undefined && found.links.length === 0 && !nameless) return;
  const redirected = [...new Set([...(record?.redirected ?? []), ...found.links.map(({ index }) => index)])];
  writeNetworkRecord(path, { version: 1, redirected, ...(record?.names && { names: record.names }) });
  const { openVm } = await import('@coracle/vm');
  {
    using nics = await openVm(state.sandboxDirectory).nics();
    await plugAll(nics, namespace, found);
  }
  if (found.nameServer) inNetworkNamespace(namespace, () => letNamesIn(found.links));
  const sandbox = await connect();
  await sandbox.updateNetwork(found.network);
  const indexes = found.links.map(({ index }) => index);
  const names = nameless ? await serveAnew(state, sandbox, namespace, record?.names) : record?.names;
  writeNetworkRecord(path, { version: 1, redirected: indexes, told: found.network, ...(names && { names }) });
}

async function serveAnew(
  state: ContainerState,
  sandbox: Sandbox,
  namespace: string,
  before: NamesProcesses | undefined,
): Promise<NamesProcesses> {
  if (before !== undefined) await endNames(before);
  try {
    return await serveNames(state, sandbox, namespace);
  } catch (cause) {
    throw new CliError(`cannot give the virtual machine Docker's name server: ${messageOf(cause)}`, {
      cause,
    });
  }
}

/** What was started for the container's network; it is not needed any more. */
export async function endNetworkProcesses(store: StateStore, id: string): Promise<void> {
  const { names } = readNetworkRecord(store.networkFile(id)) ?? {};
  if (names !== undefined) await endNames(names);
}

/** The command that does the same from outside. What goes wrong is in the container's state folder, in network.log. */
export function syncCommand(store: StateStore, id: string): string[] {
  const log = join(store.directory(id), 'network.log');
  return [program('coracle'), '--root', store.root, '--log', log, 'sync-network', id];
}

async function plugAll(nics: Nics, namespace: string, { links, taps }: NamespaceNetwork): Promise<void> {
  const plugged = new Map((await nics.list()).map(({ id, mac }) => [id, mac]));
  for (const [id, mac] of plugged) {
    const link = links.find(({ index }) => String(index) === id);
    if (link?.mac === mac && taps.has(link.index)) continue;
    await nics.unplug(id);
    plugged.delete(id);
  }
  for (const link of links) {
    const { index, name, mac, mtu } = link;
    const id = String(index);
    const tap = taps.get(index);
    if (plugged.has(id)) {
      if (tap !== undefined && tap.mtu !== mtu) inNetworkNamespace(namespace, () => resizeTap(tap, mtu));
      continue;
    }
    // A plug that was broken off may have left QEMU the tap.
    if (tap !== undefined) await nics.unplug(id);
    const fd = joined(namespace, link);
    try {
      await nics.plug({ id, mac, tap: fd });
    } catch (cause) {
      inNetworkNamespace(namespace, () => partTap(index));
      throw new CliError(
        `cannot give the virtual machine the network interface ${name}: ${messageOf(cause)}`,
        { cause },
      );
    } finally {
      close(fd);
    }
  }
}

function joined(namespace: string, link: Parameters<typeof joinTap>[0]): number {
  try {
    return inNetworkNamespace(namespace, () => joinTap(link));
  } catch (cause) {
    const why = hasCode(cause, 'EBUSY')
      ? `another virtual machine has it already (${tapName(link.index)} in the same network namespace): containers that share a ` +
        'network namespace would have to be in one virtual machine, which is not supported yet'
      : messageOf(cause);
    throw new CliError(
      `cannot take over the network interface ${link.name} of the container's namespace: ${why}`,
      { cause },
    );
  }
}

/**
 * Gives an engine its namespace back as it was, after the VM has ended. A namespace of the container's own is gone with its shim.
 * Idempotent. What goes wrong is told, and keeps nobody from removing the container.
 */
export function releaseNetwork(store: StateStore, state: ContainerState, log: Log): void {
  const { id, network } = state;
  try {
    if (network?.kind === 'path' && isSameNamespace(network)) restore(network.path, store.networkFile(id));
  } catch (error) {
    log.warning(`cannot restore the network namespace of container ${id}: ${messageOf(error)}`);
  }
}

function restore(namespace: string, recordPath: string): void {
  const { redirected = [] } = readNetworkRecord(recordPath) ?? {};
  if (redirected.length === 0) return;
  inNetworkNamespace(namespace, () => {
    const { taps } = readNetwork();
    // Another VM may have it by now.
    for (const index of redirected) if (!taps.has(index)) partTap(index);
  });
}
