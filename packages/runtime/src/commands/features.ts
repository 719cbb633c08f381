import { command } from '../command.ts';
import { features } from '../features.ts';
import { print } from '../output.ts';

export default command({
  options: {},
  positionals: [0, 0],
  async run() {
    print(`${JSON.stringify(features(), null, 4)}\n`);
  },
});
