import { askContainer } from '../agent.ts';
import { command } from '../command.ts';
import { CliError } from '../errors.ts';
import { checkContainerId } from '../ids.ts';
import { print } from '../output.ts';
import { shimsOf } from '../shims.ts';
import { statusOf } from '../status.ts';

/**
 * For people, pids of the guest: the processes do not exist on this host. Engines ask for JSON and look the pids up on
 * this host (`docker top`), so that has what stands for them here: the shims, which show the processes' own commands.
 */
export default command({
  options: {
    format: { type: 'string', short: 'f', value: 'FORMAT', help: 'table (default) or json' },
  },
  // What follows is for ps(1) of the host with runc, and has no meaning here.
  stopAtPositional: true,
  positionals: [1, Number.POSITIVE_INFINITY],
  async run({ format = 'table' }, [id = ''], { store }) {
    if (format !== 'table' && format !== 'json') {
      throw new CliError(`invalid format option ${JSON.stringify(format)}: give table or json`);
    }
    const state = store.read(checkContainerId(id));
    const status = statusOf(state);
    if (status === 'stopped' || status === 'creating') {
      throw new CliError(`container not running: ${id} is ${status}`);
    }
    if (format === 'json') {
      print(`${JSON.stringify(shimsOf(store.directory(id)))}\n`);
      return;
    }
    const pids = await askContainer(state, `cannot list the processes of container ${id}`, (container) =>
      container.processes(),
    );
    print(['PID', ...pids].map((line) => `${line}\n`).join(''));
  },
});
