import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { CliError, errnoCode, messageOf } from '../cli/errors.ts';
import { command } from '../command.ts';
import { defaultSpec, rootlessSpec } from '../spec/default-spec.ts';

export default command({
  options: {
    bundle: { type: 'string', short: 'b', value: 'DIR', help: 'folder to write config.json to (default: .)' },
    rootless: { type: 'boolean', help: 'for a container without root on the host' },
  },
  positionals: [0, 0],
  async run({ bundle = '.', rootless }) {
    const path = join(resolve(bundle), 'config.json');
    const spec = rootless === true ? rootlessSpec(process.geteuid!(), process.getegid!()) : defaultSpec();
    try {
      writeFileSync(path, `${JSON.stringify(spec, null, '\t')}\n`, { flag: 'wx' });
    } catch (cause) {
      if (errnoCode(cause) === 'EEXIST') {
        throw new CliError(`File config.json exists. Remove it first: ${path}`);
      }
      throw new CliError(`cannot write ${path}: ${messageOf(cause)}`, { cause });
    }
  },
});
