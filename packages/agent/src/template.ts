/**
 * A guest that is to be saved (docs/templates.md) rehearses, makes itself small, says that it is idle, and goes on waiting
 * for its host: once in the maker's VM, which ends there, and then in each VM that is started from what was saved.
 */
import { mkdirSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mount, unmount } from '@coracle/sys';
import type { Agent } from './agent.ts';
import { say } from './log.ts';
import { rehearse } from './rehearsal.ts';

/** The maker saves the VM when it reads this on the console. */
const IDLE = 'coracle-boot: idle';

export async function becomeTemplate(agent: Agent, stateFolder: string): Promise<void> {
  // Our own root as a container's: it has a program to run, and nothing can be written there.
  const root = join(stateFolder, 'rehearsal');
  mkdirSync(root);
  mount('/', root, null, ['bind']);
  try {
    await rehearse(agent, root);
  } finally {
    unmount(root, { detach: true });
    rmdirSync(root);
  }
  agent.sandbox.rememberDevices();
  // Pages, names and inodes that the boot has read (Documentation/admin-guide/sysctl/vm.rst): whoever needs them again
  // reads them again.
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  say(IDLE);
}
