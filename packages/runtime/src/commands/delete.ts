import { CliError } from '../cli/errors.ts';
import { command } from '../command.ts';
import { checkContainerId } from '../container/ids.ts';
import { removeContainer } from '../container/remove.ts';
import { missing } from '../container/state.ts';
import { statusOf } from '../container/status.ts';

export default command({
  options: {
    force: { type: 'boolean', short: 'f', help: 'also when it still runs, and whatever a crash has left' },
  },
  positionals: [1, 1],
  async run({ force = false }, [id = ''], { store, log }) {
    checkContainerId(id);
    if (!store.exists(id)) {
      if (force) return;
      throw missing(id, store.root);
    }
    using _lock = await store.lock(id);
    const state = store.find(id);
    const status = state === undefined ? 'stopped' : statusOf(state);
    if (!force && status !== 'stopped' && status !== 'created') {
      throw new CliError(
        `cannot delete container ${id} that is not stopped: ${status}; kill it first, or give --force`,
      );
    }
    await removeContainer(store, id, log);
  },
});
