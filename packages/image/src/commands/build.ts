import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { buildImage } from '../build.ts';
import { ImageError } from '../errors.ts';
import { stderrProgress } from '../progress.ts';
import type { Command } from './command.ts';

export const buildCommand: Command = {
  usage: 'build RECIPE --output DIR [--agent DIR] [--lock FILE] [--no-cache] [--update-missing] [--json]',
  summary: 'build an image from the recipe in a folder',
  options: {
    '--output DIR': 'the folder to make; it appears complete or not at all',
    '--agent DIR': 'the bundled agent; default dist/agent',
    '--lock FILE': "default images.lock.json beside the recipe's folder",
    '--no-cache': 'neither take the image from the cache nor keep it there',
    '--update-missing': 'take the current version of packages that are not pinned or are gone',
    '--json': 'print folder and manifest',
  },
  run: (args, signal) => build(args, signal).then(() => 0),
};

/** `coracle-image build RECIPE --output DIR`: prints the image's folder, or with --json folder and manifest. */
export async function build(args: string[], signal: AbortSignal): Promise<void> {
  const { values, positionals } = parse(args);
  const [recipe, ...rest] = positionals;
  if (recipe === undefined || rest.length > 0) throw new ImageError('usage', 'build takes one recipe folder');
  if (!values.output) throw new ImageError('usage', 'build needs --output DIR');
  const { image, cached } = await buildImage({
    recipe,
    output: values.output,
    agent: values.agent ?? builtAgent(),
    ...(values.lock ? { lock: values.lock } : {}),
    useCache: !values['no-cache'],
    updateMissing: values['update-missing'],
    progress: stderrProgress(),
    signal,
  });
  const result = { folder: image.folder, cached, manifest: image.manifest };
  process.stdout.write(values.json ? `${JSON.stringify(result, null, 2)}\n` : `${image.folder}\n`);
}

function parse(args: string[]) {
  try {
    return parseArgs({
      args,
      allowPositionals: true,
      options: {
        output: { type: 'string', short: 'o' },
        agent: { type: 'string' },
        lock: { type: 'string' },
        'no-cache': { type: 'boolean', default: false },
        'update-missing': { type: 'boolean', default: false },
        json: { type: 'boolean', default: false },
      },
    });
  } catch (cause) {
    throw new ImageError('usage', (cause as Error).message, { cause });
  }
}

/** `dist/agent` of the checkout that this program lies in. */
function builtAgent(): string {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    if (existsSync(join(folder, 'pnpm-workspace.yaml'))) return join(folder, 'dist', 'agent');
  }
  throw new ImageError('usage', 'build needs --agent DIR when it runs outside the checkout');
}
