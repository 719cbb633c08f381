import type { Sandbox } from '@coracle/client';
import { command } from '../command.ts';
import { checkContainerId } from '../container/ids.ts';
import { syncNetwork } from '../network/sync-network.ts';
import { connectSandbox } from '../sandbox/agent.ts';

/** Called by a container's shim when its network namespace has changed; anybody else may, too. */
export default command({
  options: {},
  positionals: [1, 1],
  async run(_, [id = ''], { store }) {
    checkContainerId(id);
    // Deleted meanwhile: there is nothing to follow any more.
    if (!store.exists(id)) return;
    using _lock = await store.lock(id);
    const state = store.find(id);
    if (state === undefined) return;
    let sandbox: Sandbox | undefined;
    try {
      await syncNetwork(store, state, async () => {
        sandbox = await connectSandbox(state);
        return sandbox;
      });
    } finally {
      sandbox?.close();
    }
  },
});
