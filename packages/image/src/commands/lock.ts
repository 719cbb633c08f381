import { refreshLock } from '../pins/refresh-lock.ts';
import { stderrProgress } from '../progress.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';
import { table } from './text.ts';

export const lock: Command = {
  usage: 'lock RECIPE [--lock FILE] [--json]',
  summary: "pin what the Debian archive has now of a recipe's packages",
  options: {
    '--lock FILE': "default images.lock.json beside the recipe's folder",
    '--json': 'print the lock file and what changed in it',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['RECIPE'], {
      ...jsonOption,
      lock: { type: 'string' },
    });
    const { lockPath, changes } = await refreshLock({
      recipe: positionals[0] ?? '',
      ...(values.lock === undefined ? {} : { lock: values.lock }),
      progress: stderrProgress(),
      signal,
    });
    if (values.json) printJson({ lock: lockPath, changes });
    else if (changes.length === 0) printLines([`${lockPath}: nothing changed`]);
    else {
      const rows = changes.map(({ name, from, to }) => [name, from ?? 'not pinned', '→', to ?? 'not needed']);
      printLines(table(rows));
    }
    return 0;
  },
};
