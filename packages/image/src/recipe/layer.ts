/** One image.toml, with what can be said of it without the recipe that it extends. */
import { dirname } from 'node:path';
import { parse, TomlError } from 'smol-toml';
import { hookPath, linkTarget, mergedPath, refusedPath } from '../root/paths.ts';
import { checkValues, type KeyMistake, type LayerValues } from './schema.ts';
import { checkProgram, readSource, SourceMistake, sourcePath } from './source.ts';
import { type KeyPath, lineOfKey } from './toml-lines.ts';

/** What a file of the image is made of: a file of the host, by its real path, or a text. */
export type Content = { source: string } | { text: string };

export type RootEntry =
  | { kind: 'file'; path: string; mode: number; content: Content }
  | { kind: 'link'; path: string; target: string }
  | { kind: 'directory'; path: string; mode: number };

export interface BootHook {
  name: string;
  content: Content;
}

/** Something with a key of its own in image.toml. */
type Keyed<T> = T & { key: KeyPath };

export interface RecipeLayer {
  /** Of image.toml, as messages name it. */
  path: string;
  folder: string;
  values: LayerValues;
  files: Keyed<RootEntry>[];
  hooks: Keyed<BootHook>[];
  /** Real path of the kernel's configuration fragment. */
  config: string | undefined;
  /** Whether the file has the key, right or wrong. */
  has(...key: string[]): boolean;
  /** `FILE:LINE: KEY`. */
  place(key: KeyPath): string;
}

/** The layer is undefined when its file is no TOML. */
export function parseLayer(
  text: string,
  path: string,
): { layer: RecipeLayer | undefined; mistakes: string[] } {
  let raw: Record<string, unknown>;
  try {
    raw = parse(text);
  } catch (cause) {
    if (!(cause instanceof TomlError)) throw cause;
    const reason = cause.message.split('\n', 1)[0]?.replace(/^Invalid TOML document: /, '');
    return { layer: undefined, mistakes: [`${path}:${cause.line}:${cause.column}: ${reason}`] };
  }
  const folder = dirname(path);
  const { values, mistakes } = checkValues(raw);
  const check = <T>(key: KeyPath, work: () => T): T | undefined => {
    try {
      return work();
    } catch (error) {
      if (!(error instanceof SourceMistake)) throw error;
      mistakes.push({ key, what: error.message });
      return undefined;
    }
  };
  const config = values.kernel?.config;
  const place = (key: KeyPath) => `${path}:${lineOfKey(text, key)}: ${key.map(String).join('.')}`;
  const layer: RecipeLayer = {
    path,
    folder,
    values,
    files: readFiles(values, folder, check),
    hooks: readHooks(values, folder, check),
    config: config && check(['kernel', 'config'], () => sourcePath(folder, config)),
    has: (...key) =>
      key.reduce<unknown>((value, name) => (value as Record<string, unknown>)?.[name], raw) !== undefined,
    place,
  };
  mistakes.push(...refusedPaths(layer), ...repeatedPaths(layer, place));
  const inOrder = mistakes.toSorted((a, b) => lineOfKey(text, a.key) - lineOfKey(text, b.key));
  return { layer, mistakes: inOrder.map(({ key, what }) => `${place(key)}: ${what}`) };
}

type Check = <T>(key: KeyPath, work: () => T) => T | undefined;

function readFiles(values: LayerValues, folder: string, check: Check): Keyed<RootEntry>[] {
  return values.files.flatMap((file, index): Keyed<RootEntry>[] => {
    const key = ['files', index];
    if (!file) return [];
    const { path, source, text, link, directory, mode } = file;
    if (link !== undefined) return [{ key, kind: 'link', path, target: link }];
    if (directory) return [{ key, kind: 'directory', path, mode: mode ?? 0o755 }];
    const content = check([...key, 'source'], () => contentOf(folder, source, text));
    return content ? [{ key, kind: 'file', path, mode: mode ?? 0o644, content }] : [];
  });
}

function readHooks(values: LayerValues, folder: string, check: Check): Keyed<BootHook>[] {
  return values.hooks.flatMap((hook, index): Keyed<BootHook>[] => {
    if (!hook) return [];
    const { name, source, text } = hook;
    const key = ['hooks', index];
    const content = check([...key, source === undefined ? 'text' : 'source'], () => {
      const found = contentOf(folder, source, text);
      checkProgram('text' in found ? Buffer.from(found.text) : readSource(found.source));
      return found;
    });
    return content ? [{ key, name, content }] : [];
  });
}

function contentOf(folder: string, source: string | undefined, text: string | undefined): Content {
  return source === undefined ? { text: text ?? '' } : { source: sourcePath(folder, source) };
}

function refusedPaths({ values, files }: RecipeLayer): KeyMistake[] {
  const mistakes: KeyMistake[] = [];
  const refuse = (key: KeyPath, path: string) => {
    const why = refusedPath(path);
    if (why) mistakes.push({ key, what: `/${path} may not be in a recipe: ${why}` });
  };
  for (const entry of files) {
    refuse([...entry.key, 'path'], entry.path);
    if (entry.kind !== 'link' || linkTarget(mergedPath(entry.path), entry.target) !== undefined) continue;
    mistakes.push({
      key: [...entry.key, 'link'],
      what: `${entry.target} points out of the root, seen from /${entry.path}`,
    });
  }
  for (const { key, path } of namedPackageFiles(values)) refuse(key, path);
  return mistakes;
}

/** Within one file that is a mistake; in a recipe that extends it, it is meant to replace the other. */
function repeatedPaths({ values, files, hooks }: RecipeLayer, place: (key: KeyPath) => string): KeyMistake[] {
  const claims = [
    ...namedPackageFiles(values),
    ...files.map(({ key, path }) => ({ key: [...key, 'path'], path })),
    ...hooks.map(({ key, name }) => ({ key: [...key, 'name'], path: hookPath(name) })),
  ];
  const first = new Map<string, KeyPath>();
  return claims.flatMap(({ key, path }) => {
    const merged = mergedPath(path);
    const other = first.get(merged);
    if (other) return [{ key, what: `/${path} is given twice; ${place(other)} gives it as well` }];
    first.set(merged, key);
    return [];
  });
}

/** Whole folders are left out: what they hold is known when the package is unpacked. */
function namedPackageFiles(values: LayerValues): { key: KeyPath; path: string }[] {
  return values.packages.flatMap((one, index) =>
    (one?.files ?? []).flatMap((path, position) =>
      path.endsWith('/') ? [] : [{ key: ['packages', index, 'files', position], path }],
    ),
  );
}
