import { askContainer } from '../agent.ts';
import { command } from '../command.ts';
import { CliError } from '../errors.ts';
import { checkContainerId } from '../ids.ts';
import { print } from '../output.ts';
import { statusOf } from '../status.ts';

/** The pids are the guest's: the processes do not exist on this host. */
export default command({
  options: {
    format: { type: 'string', short: 'f', value: 'FORMAT', help: 'table (default) or json' },
  },
  positionals: [1, 1],
  async run({ format = 'table' }, [id = ''], { store }) {
    if (format !== 'table' && format !== 'json') {
      throw new CliError(`invalid format option ${JSON.stringify(format)}: give table or json`);
    }
    const state = store.read(checkContainerId(id));
    const status = statusOf(state);
    if (status === 'stopped' || status === 'creating') {
      throw new CliError(`container not running: ${id} is ${status}`);
    }
    const pids = await askContainer(state, `cannot list the processes of container ${id}`, (container) =>
      container.processes(),
    );
    if (format === 'json') print(`${JSON.stringify(pids)}\n`);
    else print(['PID', ...pids].map((line) => `${line}\n`).join(''));
  },
});
