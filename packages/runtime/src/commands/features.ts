import { print } from '../cli/output.ts';
import { command } from '../command.ts';
import { features } from '../spec/features.ts';

export default command({
  options: {},
  positionals: [0, 0],
  async run() {
    print(`${JSON.stringify(features(), null, 4)}\n`);
  },
});
