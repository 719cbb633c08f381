import { sha256, sha256File } from '../digest.ts';
import type { Content } from './layer.ts';
import type { Recipe } from './recipe.ts';

/**
 * What of a recipe decides the bits of an image, as JSON: files of the host by their content and not by their
 * path, so that the same recipe in another folder, or in other layers, is the same recipe.
 */
export async function describeRecipe(recipe: Recipe, signal?: AbortSignal): Promise<unknown> {
  const { places: _places, kernel, files, hooks, ...rest } = recipe;
  const digest = (content: Content) =>
    'text' in content ? sha256(content.text) : sha256File(content.source, signal);
  return {
    ...rest,
    kernel: {
      ...kernel,
      configs: await Promise.all(kernel.configs.map((path) => sha256File(path, signal))),
    },
    files: await Promise.all(
      files.map(async (file) =>
        file.kind === 'file' ? { ...file, content: await digest(file.content) } : file,
      ),
    ),
    hooks: await Promise.all(
      hooks.map(async ({ name, content }) => ({ name, content: await digest(content) })),
    ),
  };
}
