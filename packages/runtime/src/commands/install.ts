import { join } from 'node:path';
import { print } from '../cli/output.ts';
import { command } from '../command.ts';
import { readConfigFile, replaceConfigFile } from '../docker/config-file.ts';
import { addRuntime } from '../docker/daemon-json.ts';
import { unifiedDiff } from '../docker/diff.ts';
import { installOptions, installPlace } from '../docker/options.ts';
import { installation } from '../host/settings.ts';

export default command({
  options: {
    ...installOptions,
    default: { type: 'boolean', help: 'for containers that name no runtime, too' },
  },
  positionals: [0, 0],
  async run(values) {
    const { file, name } = installPlace(values);
    const path = join(installation(), 'bin', 'coracle');
    const before = readConfigFile(file);
    const after = addRuntime(before, file, { name, path }, values.default === true);
    if (after === before) {
      print(`${file} has the runtime ${name} already: ${path}\n`);
      return;
    }
    print(unifiedDiff(file, before, after));
    if (values['dry-run'] === true) return;
    replaceConfigFile(file, after);
    print(
      `\nTell Docker:   systemctl reload docker   (or: kill -HUP $(cat /run/docker.pid))\n` +
        `Then:          docker run --rm ${values.default === true ? '' : `--runtime ${name} `}IMAGE\n`,
    );
  },
});
