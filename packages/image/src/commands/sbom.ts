import { readSbom } from '../look/look.ts';
import { type Command, parseCommand } from './command.ts';

export const sbom: Command = {
  usage: 'sbom IMAGE',
  summary: 'print the list of everything inside an image, as CycloneDX JSON',
  options: {},
  async run(args, signal) {
    const { positionals } = parseCommand(args, ['IMAGE'], {});
    process.stdout.write(await readSbom(positionals[0] ?? '', { signal }));
    return 0;
  },
};
