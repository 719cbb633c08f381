import { print } from '../cli/output.ts';
import { command } from '../command.ts';
import { collectGarbage } from '../host/gc.ts';

export default command({
  options: {},
  positionals: [0, 0],
  async run(_, __, { store, settings, log }) {
    const removed = await collectGarbage(store, settings.runDirectory, log);
    print(removed.map((line) => `removed ${line}\n`).join(''));
  },
});
