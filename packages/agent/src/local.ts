/** The local tier: an ordinary process of the host, for quick tests. It isolates nothing. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { formatLinkAddress, setChildSubreaper } from '@coracle/sys';
import { createAgent } from './agent.ts';
import { answersSent } from './farewell.ts';
import { listenLocal, removeLocal } from './link-local.ts';
import { LinkSlot } from './link-slot.ts';
import { log, reasonOf } from './log.ts';
import type { LocalOptions } from './options.ts';

/** Appears in the state folder when the link can be dialled; a unix socket's file says so itself. */
const READY = 'ready';

export async function runLocal({ link, limits, stateFolder }: LocalOptions): Promise<void> {
  let ending = false;
  const end = async (code: number): Promise<void> => {
    if (ending) return;
    ending = true;
    await agent.sandbox.destroy();
    await answersSent(agent.sessions);
    removeLocal(link);
    rmSync(stateFolder, { recursive: true, force: true });
    process.exit(code);
  };
  // Before anything is started that would have to be cleaned up.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => void end(0));
  process.on('uncaughtException', (error) => {
    log('error', `fatal: ${error.stack ?? reasonOf(error)}`);
    void end(1);
  });
  setChildSubreaper(true);
  const agent = createAgent({
    stateFolder,
    local: true,
    bootMs: performance.now(),
    limits,
    destroyed: () => void end(0),
  });
  await listenLocal(link, new LinkSlot(agent.sessions));
  writeFileSync(join(stateFolder, READY), '');
  log('info', 'listening', { link: formatLinkAddress(link) });
}
