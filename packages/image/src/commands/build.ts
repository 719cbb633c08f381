import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { buildImage } from '../build.ts';
import { ImageError } from '../errors.ts';
import type { KernelChoice } from '../kernel/choose.ts';
import { stderrProgress } from '../progress.ts';
import { type Command, jsonOption, parseCommand, printJson, printLines } from './command.ts';

const kernelChoices: readonly KernelChoice[] = ['auto', 'prebuilt', 'built'];

export const build: Command = {
  usage:
    'build RECIPE --output DIR [--kernel auto|prebuilt|built] [--agent DIR] [--lock FILE] [--no-cache] [--update-missing] [--json]',
  summary: 'build an image from the recipe in a folder',
  options: {
    '--output DIR': 'the folder to make; it appears complete or not at all',
    '--kernel WHICH':
      "prebuilt: Debian's; built: our own, compiled if need be; auto (default): our own where it is compiled",
    '--agent DIR': 'the bundled agent; default dist/agent',
    '--lock FILE': "default images.lock.json beside the recipe's folder",
    '--no-cache': 'neither take the image from the cache nor keep it there',
    '--update-missing': 'take the current version of packages that are not pinned or are gone',
    '--json': 'print folder and manifest',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['RECIPE'], {
      ...jsonOption,
      output: { type: 'string', short: 'o' },
      kernel: { type: 'string', default: 'auto' },
      agent: { type: 'string' },
      lock: { type: 'string' },
      'no-cache': { type: 'boolean', default: false },
      'update-missing': { type: 'boolean', default: false },
    });
    if (!values.output) throw new ImageError('usage', '--output DIR is missing');
    const kernel = kernelChoices.find((one) => one === values.kernel);
    if (!kernel)
      throw new ImageError('usage', `--kernel ${values.kernel} is none of ${kernelChoices.join(', ')}`);
    const { image, cached } = await buildImage({
      recipe: positionals[0] ?? '',
      output: values.output,
      kernel,
      agent: values.agent ?? builtAgent(),
      ...(values.lock ? { lock: values.lock } : {}),
      useCache: !values['no-cache'],
      updateMissing: values['update-missing'],
      progress: stderrProgress(),
      signal,
    });
    if (values.json) printJson({ folder: image.folder, cached, manifest: image.manifest });
    else printLines([image.folder]);
    return 0;
  },
};

/** `dist/agent` of the checkout that this program lies in. */
function builtAgent(): string {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'pnpm-workspace.yaml'))) return join(folder, 'dist', 'agent');
  }
  throw new ImageError('usage', 'build needs --agent DIR when it runs outside the checkout');
}
