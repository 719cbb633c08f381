import { readImageFile } from '../look/look.ts';
import { type Command, parseCommand } from './command.ts';

export const cat: Command = {
  usage: 'cat IMAGE PATH',
  summary: "print a file of an image's root",
  options: {},
  async run(args, signal) {
    const { positionals } = parseCommand(args, ['IMAGE', 'PATH'], {});
    process.stdout.write(await readImageFile(positionals[0] ?? '', positionals[1] ?? '', { signal }));
    return 0;
  },
};
