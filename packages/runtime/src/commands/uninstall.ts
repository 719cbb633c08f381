import { print } from '../cli/output.ts';
import { command } from '../command.ts';
import { readConfigFile, replaceConfigFile } from '../docker/config-file.ts';
import { removeRuntime } from '../docker/daemon-json.ts';
import { unifiedDiff } from '../docker/diff.ts';
import { installOptions, installPlace } from '../docker/options.ts';

export default command({
  options: installOptions,
  positionals: [0, 0],
  async run(values) {
    const { file, name } = installPlace(values);
    const before = readConfigFile(file);
    const after = removeRuntime(before, file, name);
    if (after === before) {
      print(`${file} has no runtime ${name}\n`);
      return;
    }
    print(unifiedDiff(file, before, after));
    if (values['dry-run'] === true) return;
    replaceConfigFile(file, after);
    // A reload leaves alone what a file does not mention.
    print(
      '\nTell Docker:   systemctl restart docker\n' +
        `Containers that were made with ${name} cannot be started any more: remove them, or install it again.\n`,
    );
  },
});
