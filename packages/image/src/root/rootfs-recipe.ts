/** Puts into the root what a recipe names: files of packages, files of its own, boot hooks. */
import { ImageError } from '../errors.ts';
import type { Content } from '../recipe/layer.ts';
import { placeOf, type Recipe } from '../recipe/recipe.ts';
import { SourceMistake } from '../recipe/source.ts';
import type { Program } from './libraries.ts';
import { allPackageFiles, type PackageEntry, packageFiles } from './package-files.ts';
import { hookPath, linkTarget, mergedPath, protectedPath } from './paths.ts';
import { type Origin, RootPathError, type RootTree } from './root-tree.ts';

const own: Origin = { kind: 'recipe' };

/**
 * What comes later replaces what came before; the recipe's own files come last.
 * @returns files whose libraries the image needs, should they be programs
 * @throws ImageError `recipe-invalid`: one line per mistake, each with file, line and key
 */
export async function addRecipeFiles(
  tree: RootTree,
  recipe: Recipe,
  folderOf: (packageName: string) => string,
): Promise<Program[]> {
  const programs: Program[] = [];
  const mistakes: string[] = [];
  const at = async (place: string, work: () => Promise<void>) => {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof SourceMistake || error instanceof RootPathError)) throw error;
      mistakes.push(`${place}: ${error.message}`);
    }
  };
  const write = async (path: string, content: Content, mode: number, place: string) => {
    if ('text' in content) return tree.text(path, content.text, mode, own);
    await tree.copy(path, content.source, mode, own);
    programs.push({ path: content.source, name: `${place}: /${path}` });
  };

  for (const { name, files, everything } of recipe.packages) {
    const folder = folderOf(name);
    const take = async (place: string, entries: readonly PackageEntry[]) => {
      for (const entry of entries) {
        await addPackageEntry(tree, entry, { kind: 'debian', package: name });
        if (entry.kind === 'file')
          programs.push({ path: entry.source, name: `${place}: ${entry.path} of ${name}` });
      }
    };
    if (everything) {
      const place = placeOf(recipe, 'packages', name, 'everything');
      await at(place, async () => take(place, await allPackageFiles(folder)));
    }
    for (const file of files) {
      const place = placeOf(recipe, 'packages', name, file);
      await at(place, async () => take(place, await packageFiles(folder, file)));
    }
  }
  for (const file of recipe.files) {
    const place = placeOf(recipe, 'files', file.path);
    const path = mergedPath(file.path);
    await at(place, async () => {
      if (file.kind === 'link') await tree.link(path, file.target, own);
      else if (file.kind === 'directory') await tree.directory(path, file.mode, own);
      else await write(path, file.content, file.mode, place);
    });
  }
  for (const { name, content } of recipe.hooks) {
    const place = placeOf(recipe, 'hooks', name);
    await at(place, () => write(hookPath(name), content, 0o755, place));
  }
  if (mistakes.length > 0) throw new ImageError('recipe-invalid', mistakes.join('\n'));
  return programs;
}

async function addPackageEntry(tree: RootTree, entry: PackageEntry, origin: Origin): Promise<void> {
  const path = mergedPath(entry.path);
  const why = protectedPath(path);
  if (why && entry.kind !== 'directory')
    throw new SourceMistake(`${entry.path} may not be in an image: ${why}`);
  if (entry.kind === 'file') return tree.copy(path, entry.source, entry.mode, origin);
  if (entry.kind === 'directory') {
    if (!tree.isDirectory(path)) await tree.directory(path, 0o755, origin);
    return;
  }
  // Since the merge into /usr a link such as sbin/ip -> /bin/ip would lead to itself.
  const target = linkTarget(path, entry.target) ?? '';
  if (mergedPath(target) !== path) await tree.link(path, entry.target, origin);
}
