/**
 * Removing what crashes have left: of `coracle` itself at any step, of the host (the run folder is on a
 * tmpfs, so a reboot leaves nothing), of a proxy. Stopped containers stay: their engine deletes them.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { errnoCode } from '../cli/errors.ts';
import type { Log } from '../cli/log.ts';
import { isAlive } from '../container/process-identity.ts';
import { removeContainer } from '../container/remove.ts';
import { StateStore } from '../container/state.ts';
import { statusOf } from '../container/status.ts';
import { sandboxesFolder } from '../sandbox/proxy.ts';
import { type Owner, ownerFile, removeSandbox } from '../sandbox/sandbox.ts';
import { poolFolder } from './settings.ts';

/** Between making a VM's folder and writing its owner down there are microseconds. */
const ownerlessAgeMs = 60_000;

/** @returns what was removed, in words */
export async function collectGarbage(store: StateStore, runDirectory: string, log: Log): Promise<string[]> {
  const removed: string[] = [];
  for (const id of store.ids()) {
    const why = await removeIfAbandoned(store, id, log);
    if (why !== undefined) removed.push(`container ${id}: ${why}`);
  }
  const sandboxes = sandboxesFolder(runDirectory);
  for (const name of folders(sandboxes)) {
    const directory = join(sandboxes, name);
    if (!isOrphan(directory, name)) continue;
    await removeSandbox(directory);
    removed.push(`virtual machine ${name}: its container does not exist`);
  }
  const { clearPool } = await import('@coracle/vm');
  const pooled = await clearPool(poolFolder(runDirectory));
  if (pooled > 0) removed.push(`${pooled} VM${pooled === 1 ? '' : 's'} of a pool that was killed`);
  return removed;
}

async function removeIfAbandoned(store: StateStore, id: string, log: Log): Promise<string | undefined> {
  using lock = await store.tryLock(id);
  // Whoever holds it is at work.
  if (lock === undefined) return undefined;
  const state = store.find(id);
  const why =
    state === undefined || state.phase === 'creating'
      ? 'whoever created it died before it was there'
      : state.runner !== undefined && !isAlive(state.runner) && statusOf(state) === 'stopped'
        ? 'the coracle run that would have removed it was killed'
        : undefined;
  if (why !== undefined) await removeContainer(store, id, log);
  return why;
}

/** The state is written before the VM's folder is made and removed after it, so there is no gap. */
function isOrphan(directory: string, sandboxId: string): boolean {
  let owner: Owner;
  try {
    owner = JSON.parse(readFileSync(join(directory, ownerFile), 'utf8')) as Owner;
  } catch {
    const made = statSync(directory, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
    return Date.now() - made > ownerlessAgeMs;
  }
  return new StateStore(owner.root).find(owner.id)?.sandboxId !== sandboxId;
}

function folders(path: string): string[] {
  try {
    return readdirSync(path, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name);
  } catch (error) {
    if (errnoCode(error) === 'ENOENT') return [];
    throw error;
  }
}
