/** Recipes: what an image is made of, written down in image.toml (docs/images.md). */
import { join } from 'node:path';
import { ImageError } from '../errors.ts';
import { readLayers, readRecipeFile, recipeFileName } from './layers.ts';
import { mergeLayers, type RecipeContent, type RecipePlaces } from './merge.ts';

export { recipeFileName } from './layers.ts';

/** A recipe with all that it extends. */
export interface Recipe extends RecipeContent {
  /** For messages alone: they hold paths of the host, which must not decide the bits of an image. */
  places: RecipePlaces;
}

/**
 * Reads and checks `FOLDER/image.toml` and the recipes that it extends.
 * @throws ImageError `recipe-invalid`: one line per mistake, each with file, line and key.
 */
export async function readRecipe(folder: string): Promise<Recipe> {
  const path = join(folder, recipeFileName);
  return parseRecipe(readRecipeFile(path), path);
}

/** As `readRecipe`, on text; what it names is looked for beside `path`. */
export function parseRecipe(text: string, path: string): Recipe {
  const { layers, mistakes, complete } = readLayers(text, path);
  const merged = mergeLayers(layers, complete);
  const all = [...new Set([...mistakes, ...merged.mistakes])];
  if (all.length > 0) throw new ImageError('recipe-invalid', all.join('\n'));
  return { ...merged.content, places: merged.places };
}

/** `FILE:LINE: KEY` of a part of a recipe, such as `placeOf(recipe, 'packages', 'crun', 'usr/bin/crun')`. */
export function placeOf(recipe: Recipe, ...part: string[]): string {
  for (let length = part.length; length > 0; length--) {
    const place = recipe.places.get(part.slice(0, length).join('\0'));
    if (place !== undefined) return place;
  }
  return part.join('.');
}
