import { print } from '../cli/output.ts';
import { command } from '../command.ts';
import { checkContainerId } from '../container/ids.ts';
import { stateJson } from '../container/status.ts';

export default command({
  options: {},
  positionals: [1, 1],
  async run(_, [id = ''], { store }) {
    print(`${JSON.stringify(stateJson(store.read(checkContainerId(id))), null, 2)}\n`);
  },
});
