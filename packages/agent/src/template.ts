/**
 * A guest that is to be saved (docs/templates.md) rehearses, makes itself small, says that it is idle, and goes on waiting
 * for its host: once in the maker's VM, which ends there, and then in each VM that is started from what was saved.
 */
import { writeFileSync } from 'node:fs';
import { openStream, socketPair } from '@coracle/sys';
import { rehearse } from '@coracle/wire';
import type { Agent } from './agent.ts';
import type { PortLink } from './link-port.ts';
import { say } from './log.ts';

/** The maker saves the VM when it reads this on the console. */
const IDLE = 'coracle-boot: idle';

export async function becomeTemplate({ sandbox }: Agent, link: PortLink): Promise<void> {
  const [own, peer] = socketPair();
  const over = link.rehearse(peer);
  await rehearse(openStream(own));
  await over;
  sandbox.rememberDevices();
  // Pages, names and inodes that the boot has read (Documentation/admin-guide/sysctl/vm.rst): whoever needs them again
  // reads them again.
  writeFileSync('/proc/sys/vm/drop_caches', '3');
  say(IDLE);
}
