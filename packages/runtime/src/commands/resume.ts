import { CliError } from '../cli/errors.ts';
import { command } from '../command.ts';
import { checkContainerId } from '../container/ids.ts';
import { statusOf } from '../container/status.ts';
import { askContainer } from '../sandbox/agent.ts';

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
