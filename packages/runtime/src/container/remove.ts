/** Removing a container with its virtual machine, whatever state it or a crash has left. */
import { existsSync } from 'node:fs';
import { waitForExit } from '@coracle/sys';
import type { VmRecord } from '@coracle/vm';
import type { Log } from '../cli/log.ts';
import { endNetworkProcesses, releaseNetwork } from '../network/sync-network.ts';
import { connectSandbox } from '../sandbox/agent.ts';
import { proxyOf, stopOwnProxy } from '../sandbox/proxy.ts';
import { removeSandbox } from '../sandbox/sandbox.ts';
import { runHooksAnyway } from './hooks.ts';
import { isAlive, killAndWait } from './process-identity.ts';
import { shimsOf } from './shims.ts';
import type { ContainerState, StateStore } from './state.ts';

/**
 * The guest is asked first, so that file systems are synced and a killed process's end reaches the engine as
 * SIGKILL; one that does not answer within this is switched off.
 */
const guestTimeoutMs = 10_000;
const shimTimeoutMs = 2_000;

/** The caller holds the lock. Idempotent. */
export async function removeContainer(store: StateStore, id: string, log: Log): Promise<void> {
  const state = store.find(id);
  if (state !== undefined) {
    await askGuest(store, state);
    await removeSandboxOf(store, state);
    releaseNetwork(store, state, log);
    await runHooksAnyway('poststop', state.hooks, state, 'stopped', log);
  }
  store.remove(id);
}

async function removeSandboxOf(store: StateStore, state: ContainerState): Promise<void> {
  await stopOwnProxy(proxyOf(state));
  await removeSandbox(state.sandboxDirectory, async () => {
    if (state.shim !== undefined) await killAndWait(state.shim);
    await endNetworkProcesses(store, state.id);
  });
}

async function askGuest(store: StateStore, state: ContainerState): Promise<void> {
  const { readRecord, openVm } = await import('@coracle/vm');
  const record = readRecord(state.sandboxDirectory);
  if (record?.state !== 'running' || nothingLeft(store, state, record)) return;
  const signal = AbortSignal.timeout(guestTimeoutMs);
  try {
    // A QEMU that is just ending has no QMP socket any more, and is still there.
    if ((await openVm(state.sandboxDirectory).status()) !== 'running') return;
    const sandbox = await connectSandbox(state, signal);
    try {
      if (state.shim !== undefined && isAlive(state.shim)) {
        await sandbox.container(state.id).remove({ force: true, signal });
        // It still delivers output, and ends; one whose reader is stuck is killed later.
        await waitForExit(state.shim.pid, AbortSignal.timeout(shimTimeoutMs)).catch(() => undefined);
      }
      await sandbox.destroy({ signal });
    } finally {
      sandbox.close();
    }
  } catch {
    // Dead, hung or half made: it is switched off.
  }
}

/**
 * Its processes have all ended, and were told of. What they wrote is on the host: to a virtiofsd each write goes through, and
 * what was written to mapped memory with the mapping's end (fuse_vma_close in the guest's fs/fuse/file.c). With 9p the guest
 * may hold it still.
 */
function nothingLeft(
  store: StateStore,
  state: ContainerState,
  { driver, shares, helpers }: VmRecord,
): boolean {
  return (
    driver === 'qemu' &&
    shares.every((tag) => tag in helpers) &&
    state.ownProcesses === true &&
    existsSync(store.exitFile(state.id)) &&
    shimsOf(store.directory(state.id)).length === 0
  );
}
