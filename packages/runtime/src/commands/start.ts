import { CliError } from '../cli/errors.ts';
import { command } from '../command.ts';
import { checkContainerId } from '../container/ids.ts';
import { startContainer } from '../container/start.ts';
import { startError } from '../container/start-error.ts';
import { statusOf } from '../container/status.ts';
import { connectSandbox } from '../sandbox/agent.ts';

export default command({
  options: {},
  positionals: [1, 1],
  async run(_, [id = ''], context) {
    const { store } = context;
    checkContainerId(id);
    using _lock = await store.lock(id);
    const state = store.read(id);
    const status = statusOf(state);
    if (status === 'stopped') throw new CliError(`cannot start a container that has stopped: ${id}`);
    if (status !== 'created') throw new CliError(`cannot start container ${id} in the ${status} state`);
    const sandbox = await connectSandbox(state).catch((error: unknown) => {
      throw startError(error, `cannot start container ${id}`);
    });
    try {
      await startContainer(context, state, sandbox);
    } finally {
      sandbox.close();
    }
  },
});
