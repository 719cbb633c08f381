import { askContainer } from '../agent.ts';
import { command } from '../command.ts';
import { CliError } from '../errors.ts';
import { checkContainerId } from '../ids.ts';
import { startError } from '../start-error.ts';
import { statusOf } from '../status.ts';

export default command({
  options: {},
  positionals: [1, 1],
  async run(_, [id = ''], { store }) {
    checkContainerId(id);
    using _lock = await store.lock(id);
    const state = store.read(id);
    const status = statusOf(state);
    if (status === 'stopped') throw new CliError(`cannot start a container that has stopped: ${id}`);
    if (status !== 'created') throw new CliError(`cannot start container ${id} in the ${status} state`);
    const tried = `cannot start container ${id}`;
    await askContainer(state, tried, (container) => container.start()).catch((error: CliError) => {
      throw error.cause === undefined ? error : startError(error.cause, tried);
    });
    store.write({ ...state, phase: 'started' });
  },
});
