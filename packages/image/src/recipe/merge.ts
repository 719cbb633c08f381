/** Puts the layers of a recipe on top of each other: lists grow, everything else is overridden key by key. */

import { hookPath, isInside, mergedPath } from '../root/paths.ts';
import type { BootHook, RecipeLayer, RootEntry } from './layer.ts';
import type { KeyPath } from './toml-lines.ts';

export interface RecipePackage {
  name: string;
  /** One that ends with / is a whole folder. */
  files: string[];
  /** All of its files but documentation. */
  everything: boolean;
}

export interface RecipeContent {
  format: 1;
  name: string;
  kernel: {
    package: string;
    /** Debian source package of our own kernel. */
    source?: string;
    modules: string[];
    optional_modules: string[];
    modules_on_request: string[];
    arguments: string[];
    /** Real paths of configuration fragments, the base's first. */
    configs: string[];
    /** Name without CONFIG_, and the value as Kconfig writes it: y, n, 250, 0x1000 or "text" with its quotes. */
    options: Record<string, string>;
  };
  node: { package: string; flags: string[] };
  root: {
    filesystem: 'erofs' | 'ext4' | 'initramfs';
    compression: 'none' | 'lz4' | 'lz4hc';
    verity: boolean;
  };
  packages: RecipePackage[];
  /** What the image has besides, each path once. */
  files: RootEntry[];
  /** Programs that the agent runs at boot; the image has them in /etc/coracle/boot.d. */
  hooks: BootHook[];
}

/** Where each part of a recipe is written, as `FILE:LINE: KEY`, by its path in the merged recipe joined with NULs. */
export type RecipePlaces = ReadonlyMap<string, string>;

export interface Merged {
  content: RecipeContent;
  places: RecipePlaces;
  mistakes: string[];
}

/** @param complete whether a key that no layer has is a mistake */
export function mergeLayers(layers: readonly RecipeLayer[], complete: boolean): Merged {
  const places = placesOf(layers);
  const all = <T>(pick: (layer: RecipeLayer) => readonly T[] | undefined): T[] =>
    layers.flatMap((layer) => pick(layer) ?? []);
  const last = <T>(pick: (layer: RecipeLayer) => T | undefined): T | undefined =>
    layers.map(pick).findLast((value) => value !== undefined);
  const source = last(({ values }) => values.kernel?.source);
  const { files, hooks } = mergeFiles(layers);
  const content: RecipeContent = {
    format: 1,
    name: last(({ values }) => values.name) ?? '',
    kernel: {
      package: last(({ values }) => values.kernel?.package) ?? '',
      ...(source === undefined ? {} : { source }),
      modules: all(({ values }) => values.kernel?.modules),
      optional_modules: all(({ values }) => values.kernel?.optional_modules),
      modules_on_request: all(({ values }) => values.kernel?.modules_on_request),
      arguments: all(({ values }) => values.kernel?.arguments),
      configs: all(({ config }) => (config === undefined ? [] : [config])),
      options: Object.fromEntries(
        all(({ values }) => Object.entries(values.kernel?.options ?? {})).map(([name, value]) => [
          name,
          kconfigValue(value),
        ]),
      ),
    },
    node: {
      package: last(({ values }) => values.node?.package) ?? '',
      flags: all(({ values }) => values.node?.flags),
    },
    root: {
      filesystem: last(({ values }) => values.root?.filesystem) ?? 'erofs',
      compression: last(({ values }) => values.root?.compression) ?? 'none',
      verity: last(({ values }) => values.root?.verity) ?? false,
    },
    packages: mergePackages(layers),
    files,
    hooks,
  };
  const mistakes = [
    ...(complete ? missingKeys(layers) : []),
    ...compressionMistakes(content, places),
    ...nestingMistakes(content, places),
  ];
  return { content, places, mistakes };
}

function kconfigValue(value: string | number): string {
  if (typeof value === 'number') return String(value);
  if (/^(y|n|0x[0-9a-fA-F]+)$/.test(value)) return value;
  return `"${value.replaceAll(/["\\]/g, '\\$&')}"`;
}

/** A package stands where it was named first. */
function mergePackages(layers: readonly RecipeLayer[]): RecipePackage[] {
  const merged = new Map<string, RecipePackage>();
  for (const entry of layers.flatMap(({ values }) => values.packages)) {
    if (!entry) continue;
    const { name, files = [], everything = false } = entry;
    const known = merged.get(name) ?? { name, files: [], everything: false };
    known.files.push(...files.filter((file) => !known.files.includes(file)));
    known.everything ||= everything;
    merged.set(name, known);
  }
  return [...merged.values()];
}

/** A hook is a file too: of several at one path the last stays. */
function mergeFiles(layers: readonly RecipeLayer[]): { files: RootEntry[]; hooks: BootHook[] } {
  const claims = new Map<string, { file: RootEntry } | { hook: BootHook }>();
  const claim = (path: string, what: { file: RootEntry } | { hook: BootHook }) => {
    claims.delete(mergedPath(path));
    claims.set(mergedPath(path), what);
  };
  for (const layer of layers) {
    for (const { key: _key, ...file } of layer.files) claim(file.path, { file });
    for (const { key: _key, ...hook } of layer.hooks) claim(hookPath(hook.name), { hook });
  }
  const entries = [...claims.values()];
  return {
    files: entries.flatMap((entry) => ('file' in entry ? [entry.file] : [])),
    hooks: entries.flatMap((entry) => ('hook' in entry ? [entry.hook] : [])),
  };
}

function placesOf(layers: readonly RecipeLayer[]): RecipePlaces {
  const places = new Map<string, string>();
  for (const layer of layers) {
    const { values, files, hooks } = layer;
    const note = (part: readonly string[], key: KeyPath) => places.set(part.join('\0'), layer.place(key));
    for (const table of ['kernel', 'node', 'root'] as const) {
      for (const [name, value] of Object.entries(values[table] ?? {})) {
        note([table, name], [table, name]);
        if (!Array.isArray(value)) continue;
        value.forEach((item, index) => void note([table, name, String(item)], [table, name, index]));
      }
    }
    for (const name of Object.keys(values.kernel?.options ?? {}))
      note(['kernel', 'options', name], ['kernel', 'options', name]);
    if (layer.config !== undefined) note(['kernel', 'configs', layer.config], ['kernel', 'config']);
    values.packages.forEach((one, index) => {
      if (!one) return;
      if (!places.has(`packages\0${one.name}`)) note(['packages', one.name], ['packages', index, 'name']);
      if (one.everything) note(['packages', one.name, 'everything'], ['packages', index, 'everything']);
      one.files?.forEach((file, position) => {
        note(['packages', one.name, file], ['packages', index, 'files', position]);
      });
    });
    for (const { key, path } of files) note(['files', path], [...key, 'path']);
    for (const { key, name } of hooks) note(['hooks', name], [...key, 'name']);
  }
  return places;
}

const requiredKeys = [['name'], ['kernel', 'package'], ['node', 'package']];

function missingKeys(layers: readonly RecipeLayer[]): string[] {
  const top = layers.at(-1);
  const others = layers.length > 1 ? ', and no recipe that it extends has it' : '';
  return requiredKeys
    .filter((key) => !layers.some((layer) => layer.has(...key)))
    .map((key) => `${top?.place(key)}: is missing${others}`);
}

function compressionMistakes({ root }: RecipeContent, places: RecipePlaces): string[] {
  if (root.filesystem === 'erofs' || root.compression === 'none') return [];
  const [compression, filesystem] = [places.get('root\0compression'), places.get('root\0filesystem')];
  return [
    `${compression}: only erofs can be compressed, and the file system is ${root.filesystem} (${filesystem})`,
  ];
}

/** Nothing can lie in what is no folder. */
function nestingMistakes({ files, hooks }: RecipeContent, places: RecipePlaces): string[] {
  const entries = [
    ...files.map((file) => ({ ...file, place: places.get(`files\0${file.path}`) })),
    ...hooks.map(({ name }) => ({ kind: 'file', path: hookPath(name), place: places.get(`hooks\0${name}`) })),
  ];
  const solid = entries.filter(({ kind }) => kind !== 'directory');
  return entries.flatMap(({ path, place }) => {
    const above = solid.find(
      (other) => other.path !== path && isInside(mergedPath(path), mergedPath(other.path)),
    );
    return above
      ? [`${place}: /${path} lies in /${above.path}, which is a ${above.kind} (${above.place})`]
      : [];
  });
}
