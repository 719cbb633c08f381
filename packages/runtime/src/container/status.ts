/** The status of a container (runtime.md of the OCI specification), from what is alive. */

import { getuidName } from '../spec/users.ts';
import { isAlive } from './process-identity.ts';
import type { ContainerState, StateStore } from './state.ts';

export type Status = 'creating' | 'created' | 'running' | 'paused' | 'stopped';

/**
 * The shim stands for the process: it ends when the process has ended and its output is delivered, and when
 * the VM is lost.
 */
export function statusOf(state: ContainerState): Status {
  if (state.shim === undefined) return state.phase === 'creating' ? 'creating' : 'stopped';
  if (!isAlive(state.shim)) return 'stopped';
  // Its hooks are being run.
  if (state.phase === 'creating') return 'creating';
  if (state.phase !== 'started') return 'created';
  return state.paused ? 'paused' : 'running';
}

/** As runc prints it: the fields of the specification, then its own. */
export function stateJson(state: ContainerState) {
  const status = statusOf(state);
  return {
    ociVersion: state.ociVersion,
    id: state.id,
    pid: status === 'stopped' || status === 'creating' ? 0 : (state.shim?.pid ?? 0),
    status,
    bundle: state.bundle,
    rootfs: state.rootfs,
    created: state.createdAt,
    ...(Object.keys(state.annotations).length > 0 ? { annotations: state.annotations } : {}),
    owner: getuidName(state.owner),
  };
}

export type StateJson = ReturnType<typeof stateJson>;

/** The states of all containers; what is half made and half removed is left out. */
export function listStates(store: StateStore): StateJson[] {
  return store.ids().flatMap((id) => {
    const state = store.find(id);
    return state === undefined ? [] : [stateJson(state)];
  });
}
