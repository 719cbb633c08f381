/** Everything that decides the bits of an image, and its digest. */
import { readFile, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { listFiles, sha256, sha256File, sha256Json } from './digest.ts';
import { ImageError } from './errors.ts';
import type { KernelInputs } from './kernel/build.ts';
import type { NodeProgram } from './pins/node-package.ts';
import type { PinnedInputs } from './pins/packages.ts';
import { describeRecipe } from './recipe/digest.ts';
import type { Recipe } from './recipe/recipe.ts';
import { run, runBoth } from './run.ts';

export interface ImageInputs {
  recipe: Recipe;
  pinned: PinnedInputs;
  /** For a kernel of our own. */
  kernel: KernelInputs | undefined;
  node: NodeProgram;
  agentFolder: string;
  agentDigest: string;
  /** Goes into the manifest. */
  digest: string;
  /** Names the image in the cache: `digest` and the builder's own code. */
  cacheKey: string;
}

export async function describeInputs(
  recipe: Recipe,
  pinned: PinnedInputs,
  kernel: KernelInputs | undefined,
  node: NodeProgram,
  agentFolder: string,
  signal?: AbortSignal,
): Promise<ImageInputs> {
  const [agentDigest, tools, builder] = await Promise.all([
    digestAgent(agentFolder, signal),
    toolVersions(recipe, signal),
    builderDigest(),
  ]);
  const digest = sha256Json({
    recipe: await describeRecipe(recipe, signal),
    kernel: kernel?.digest ?? pinned.kernel.sha256,
    packages: pinned.packages.map(({ name, sha256 }) => [name, sha256]),
    node: node.sha256,
    agent: agentDigest,
    tools,
  });
  return {
    recipe,
    pinned,
    kernel,
    node,
    agentFolder,
    agentDigest,
    digest,
    cacheKey: sha256Json({ digest, builder }),
  };
}

/** @throws ImageError `input-missing` when the folder has no agent.js. */
async function digestAgent(folder: string, signal?: AbortSignal): Promise<string> {
  const entry = await stat(join(folder, 'agent.js')).catch(() => undefined);
  if (!entry?.isFile()) {
    throw new ImageError(
      'input-missing',
      `there is no agent in ${folder} (no agent.js); run \`make build\` first`,
    );
  }
  const files = await listFiles(folder);
  return sha256Json(
    await Promise.all(files.map(async (file) => [file, await sha256File(join(folder, file), signal)])),
  );
}

/** Another version of these may write other bits from the same files. */
async function toolVersions({ root }: Recipe, signal?: AbortSignal): Promise<string[]> {
  const firstLine = (text: string) => text.split('\n', 1)[0] ?? '';
  // Those of ext4 say it on stderr.
  const ext4 = async () =>
    firstLine((await runBoth('mke2fs', ['-V'], { signal, debianPackage: 'e2fsprogs' })).stderr);
  return Promise.all([
    // Version 1.5 prints its version and then fails, for it does not know -V; later ones know it.
    run('mkfs.erofs', ['-V'], { signal, debianPackage: 'erofs-utils', anyExitCode: true }).then(firstLine),
    run('strip', ['--version'], { signal, debianPackage: 'binutils' }).then(firstLine),
    ...(root.filesystem === 'ext4' ? [ext4()] : []),
  ]);
}

/** Digest of this program: its sources when they run as they are, else the bundle that it is part of. */
async function builderDigest(): Promise<string> {
  const self = import.meta.filename;
  if (!self.endsWith('.ts')) return sha256File(self);
  const folder = dirname(self);
  const sources = (await listFiles(folder)).filter(
    (name) => name.endsWith('.ts') && !name.endsWith('.test.ts'),
  );
  return sha256Json(
    await Promise.all(sources.map(async (name) => [name, sha256(await readFile(join(folder, name)))])),
  );
}
