/** What is asked about: a container, or a sandbox by its own id, whatever is left of it. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { CliError } from '../cli/errors.ts';
import type { ContainerState, StateStore } from '../container/state.ts';
import type { Settings } from '../host/settings.ts';
import { type ProxyPlace, proxyOf, proxyPlace, sandboxesFolder } from '../sandbox/proxy.ts';

export interface DebugTarget {
  readonly sandboxId: string;
  readonly sandboxDirectory: string;
  readonly proxy: ProxyPlace;
  /** Undefined for a sandbox that no container of this root has: an embedder's. */
  readonly state: ContainerState | undefined;
}

/** @throws CliError when there is neither */
export function findTarget(id: string, store: StateStore, settings: Settings): DebugTarget {
  const states = store.ids().flatMap((one) => store.find(one) ?? []);
  const state = states.find((one) => one.id === id) ?? states.find(({ sandboxId }) => sandboxId === id);
  if (state !== undefined) {
    const { sandboxId, sandboxDirectory } = state;
    return { sandboxId, sandboxDirectory, proxy: proxyOf(state), state };
  }
  const sandboxDirectory = join(sandboxesFolder(settings.runDirectory), id);
  if (/^[A-Za-z0-9_.-]{1,128}$/.test(id) && existsSync(sandboxDirectory))
    return { sandboxId: id, sandboxDirectory, proxy: proxyPlace(settings, id), state: undefined };
  throw new CliError(
    `there is no container ${JSON.stringify(id)} in ${store.root}, and no sandbox of that id in ${sandboxesFolder(settings.runDirectory)}`,
  );
}
