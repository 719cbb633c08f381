/** The local tier: an ordinary process of the host, for quick tests. It isolates nothing. */
import { rmSync } from 'node:fs';
import { setChildSubreaper } from '@coracle/sys';
import { createAgent } from './agent.ts';
import { answersSent } from './farewell.ts';
import { listenLocal } from './link-local.ts';
import { log, reasonOf } from './log.ts';

export async function runLocal(linkPath: string, stateFolder: string): Promise<void> {
  let ending = false;
  const end = async (code: number): Promise<void> => {
    if (ending) return;
    ending = true;
    await agent.sandbox.destroy();
    await answersSent(agent.sessions);
    rmSync(linkPath, { force: true });
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
    destroyed: () => void end(0),
  });
  await listenLocal(linkPath, agent.sessions);
  log('info', 'listening', { link: linkPath });
}
