import { ImageError } from '../errors.ts';
import type { Lock } from '../pins/lock.ts';
import type { Progress } from '../progress.ts';
import { placeOf, type Recipe } from '../recipe/recipe.ts';
import { describeKernelInputs, findBuiltKernel } from './build.ts';
import { readConfiguration } from './configuration.ts';
import type { KernelOrigin } from './kernel.ts';

/** auto: our own kernel where it was built from just these inputs, else the prebuilt one. */
export type KernelChoice = 'auto' | KernelOrigin;

/** The part of a lock that our own kernel depends on, with the recipe's configuration; undefined where there is none. */
export async function ownKernelInputs(recipe: Recipe, lock: Lock, signal?: AbortSignal) {
  const { source, configs, options } = recipe.kernel;
  const pin = source === undefined ? undefined : lock.debian[source];
  if (source === undefined || pin === undefined) return undefined;
  return describeKernelInputs({ name: source, ...pin }, await readConfiguration(configs, options), signal);
}

/** @throws ImageError `recipe-invalid` when the recipe does not say where the wanted kernel is from */
export async function chooseKernel(
  choice: KernelChoice,
  recipe: Recipe,
  lock: Lock,
  cache: string,
  progress: Progress,
  signal?: AbortSignal,
): Promise<KernelOrigin> {
  const { source, package: prebuilt } = recipe.kernel;
  if (choice === 'built' && source === undefined)
    throw new ImageError(
      'recipe-invalid',
      `${placeOf(recipe, 'kernel')}: has no source to build a kernel from`,
    );
  if (choice !== 'auto') return choice;
  const inputs = await ownKernelInputs(recipe, lock, signal);
  if (inputs && (await findBuiltKernel(cache, inputs, signal))) return 'built';
  if (source === undefined) return 'prebuilt';
  const options = Object.keys(recipe.kernel.options);
  const unused = options.length > 0 ? `, without this recipe's kernel options (${options.join(', ')})` : '';
  progress.notice(
    `using Debian's kernel, ${prebuilt}${unused}; our own starts in half the time: build it once with \`coracle-image kernel\` (\`make kernel\`)`,
  );
  return 'prebuilt';
}
