import { dirname } from 'node:path';
import { buildOwnKernel } from '../build.ts';
import { stderrProgress } from '../progress.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';

export const kernel: Command = {
  usage: 'kernel RECIPE [--lock FILE] [--update-missing] [--json]',
  summary: "compile a recipe's own kernel, once; images are built with it from then on",
  options: {
    '--lock FILE': "default images.lock.json beside the recipe's folder",
    '--update-missing': 'take the current version of the source if it is not pinned or is gone',
    '--json': 'print what was compiled',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['RECIPE'], {
      ...jsonOption,
      lock: { type: 'string' },
      'update-missing': { type: 'boolean', default: false },
    });
    const { kernel: built, cached } = await buildOwnKernel({
      recipe: positionals[0] ?? '',
      ...(values.lock ? { lock: values.lock } : {}),
      updateMissing: values['update-missing'],
      progress: stderrProgress(),
      signal,
    });
    const folder = dirname(built.vmlinuzPath);
    if (values.json) printJson({ folder, release: built.release, cached });
    else printLines([folder]);
    return 0;
  },
};
