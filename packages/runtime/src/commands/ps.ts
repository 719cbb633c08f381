import { CliError } from '../cli/errors.ts';
import { print } from '../cli/output.ts';
import { command } from '../command.ts';
import { checkContainerId } from '../container/ids.ts';
import { shimsOf } from '../container/shims.ts';
import { statusOf } from '../container/status.ts';
import { askContainer } from '../sandbox/agent.ts';

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
