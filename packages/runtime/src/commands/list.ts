import { CliError } from '../cli/errors.ts';
import { print, table } from '../cli/output.ts';
import { command } from '../command.ts';
import { listStates } from '../container/status.ts';

export default command({
  options: {
    format: { type: 'string', short: 'f', value: 'FORMAT', help: 'table (default) or json' },
    quiet: { type: 'boolean', short: 'q', help: 'print ids only' },
  },
  positionals: [0, 0],
  async run({ format = 'table', quiet }, _, { store }) {
    const states = listStates(store);
    if (quiet === true) {
      print(states.map(({ id }) => `${id}\n`).join(''));
    } else if (format === 'json') {
      print(`${JSON.stringify(states)}\n`);
    } else if (format === 'table') {
      const heading = ['ID', 'PID', 'STATUS', 'BUNDLE', 'CREATED', 'OWNER'];
      const rows = states.map((s) => [s.id, String(s.pid), s.status, s.bundle, s.created, s.owner]);
      print(table([heading, ...rows]));
    } else {
      throw new CliError(`invalid format option ${JSON.stringify(format)}: give table or json`);
    }
  },
});
