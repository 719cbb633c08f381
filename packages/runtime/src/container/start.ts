/** Letting the process of a created container go: its network as it is by now, the process, the poststart hooks. */
import type { Sandbox } from '@coracle/client';

import type { Context } from '../command.ts';
import { syncNetwork } from '../network/sync-network.ts';
import { runHooksAnyway } from './hooks.ts';
import { startError } from './start-error.ts';
import type { ContainerState } from './state.ts';

/** The caller holds the lock. @throws CliError, or the signal's reason */
export async function startContainer(
  { store, log }: Context,
  state: ContainerState,
  sandbox: Sandbox,
  signal?: AbortSignal,
): Promise<void> {
  await syncNetwork(store, state, async () => sandbox);
  try {
    await sandbox.container(state.id).start(signal === undefined ? {} : { signal });
  } catch (error) {
    signal?.throwIfAborted();
    throw startError(error, `cannot start container ${state.id}`);
  }
  const started: ContainerState = { ...state, phase: 'started' };
  store.write(started);
  await runHooksAnyway('poststart', state.hooks, started, 'running', log);
}
