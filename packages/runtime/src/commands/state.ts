import { command } from '../command.ts';
import { checkContainerId } from '../ids.ts';
import { print } from '../output.ts';
import { stateJson } from '../status.ts';

export default command({
  options: {},
  positionals: [1, 1],
  async run(_, [id = ''], { store }) {
    print(`${JSON.stringify(stateJson(store.read(checkContainerId(id))), null, 2)}\n`);
  },
});
