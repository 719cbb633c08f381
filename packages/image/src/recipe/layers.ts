/** A recipe and those that it extends. */
import { readFileSync, realpathSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { ImageError } from '../errors.ts';
import { parseLayer, type RecipeLayer } from './layer.ts';

/** What a recipe is called inside its folder. */
export const recipeFileName = 'image.toml';

export interface RecipeLayers {
  /** The one that extends no other comes first. */
  layers: RecipeLayer[];
  mistakes: string[];
  /** No layer is missing. */
  complete: boolean;
}

/** Reads every recipe down to the base, however many mistakes there are on the way. */
export function readLayers(text: string, path: string): RecipeLayers {
  const layers: RecipeLayer[] = [];
  const mistakes: string[] = [];
  const visited: string[] = [];
  let next: { text: string; path: string } | undefined = { text, path };
  while (next) {
    const parsed = parseLayer(next.text, next.path);
    mistakes.push(...parsed.mistakes);
    const { layer } = parsed;
    if (!layer) return { layers, mistakes, complete: false };
    layers.unshift(layer);
    visited.push(realFolder(layer.folder));
    const base: string | undefined = layer.values.extends;
    if (base === undefined) return { layers, mistakes, complete: !layer.has('extends') };
    const found = readBase(layer.folder, base, visited);
    if ('mistake' in found) {
      mistakes.push(`${layer.place(['extends'])}: ${found.mistake}`);
      return { layers, mistakes, complete: false };
    }
    next = found;
  }
  return { layers, mistakes, complete: true };
}

function readBase(
  folder: string,
  base: string,
  visited: readonly string[],
): { text: string; path: string } | { mistake: string } {
  const target = isAbsolute(base) ? base : join(folder, base);
  const path = join(target, recipeFileName);
  const first = visited.indexOf(realFolder(target));
  if (first >= 0) {
    const circle = [...visited.slice(first), visited[first]].join(' → ');
    return { mistake: `recipes extend each other in a circle: ${circle}` };
  }
  try {
    return { text: readRecipeFile(path), path };
  } catch (error) {
    return { mistake: (error as Error).message };
  }
}

/** @throws ImageError `recipe-invalid` */
export function readRecipeFile(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : String(cause);
    throw new ImageError('recipe-invalid', `cannot read the recipe ${path}: ${why}`, { cause });
  }
}

/** One folder has many names; a text that lies nowhere (in tests) has only the one it was given. */
function realFolder(folder: string): string {
  try {
    return realpathSync(folder);
  } catch {
    return folder;
  }
}
