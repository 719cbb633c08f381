import { askContainer } from '../agent.ts';
import { command } from '../command.ts';
import { CliError } from '../errors.ts';
import { checkContainerId } from '../ids.ts';
import { statusOf } from '../status.ts';

export default command({
  options: {},
  positionals: [1, 1],
  async run(_, [id = ''], { store }) {
    checkContainerId(id);
    using _lock = await store.lock(id);
    const state = store.read(id);
    const status = statusOf(state);
    if (status !== 'paused') throw new CliError(`container not paused: ${id} is ${status}`);
    await askContainer(state, `cannot resume container ${id}`, (container) => container.resume());
    store.write({ ...state, paused: false });
  },
});
