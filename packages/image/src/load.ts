import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { ImageError } from './errors.ts';
import { checkFile, checkListed, type Problem } from './look/check-file.ts';
import { imageFormat, type Manifest, manifestFileName, manifestSchema } from './manifest.ts';

export interface Image {
  /** Absolute path of the image's folder. */
  folder: string;
  manifest: Manifest;
  /** What QEMU takes as -kernel. */
  kernelPath: string;
  /** undefined where the kernel mounts the root by itself. */
  initrdPath: string | undefined;
  /** The root disk; undefined where the root is the initramfs. */
  rootPath: string | undefined;
}

export interface LoadOptions {
  /** Also reads every file and compares its digest: 0.1 s. Sizes are always compared. */
  checkDigests?: boolean;
  signal?: AbortSignal | undefined;
}

/**
 * Opens an image folder that `buildImage` made.
 * @throws ImageError `image-invalid` when it is missing, incomplete, of another format or changed.
 */
export async function loadImage(folder: string, options: LoadOptions = {}): Promise<Image> {
  const absolute = resolve(folder);
  const manifest = await readManifest(absolute);
  const refuse = (problem: Problem | undefined) => {
    if (problem) throw new ImageError('image-invalid', problem.message);
  };
  checkListed(manifest).forEach(refuse);
  for (const [name, wanted] of Object.entries(manifest.files)) {
    const { checkDigests = false, signal } = options;
    refuse(await checkFile(absolute, name, wanted, { checkDigest: checkDigests, signal }));
  }
  return describeImagePaths(absolute, manifest);
}

/** As `loadImage`, without looking at the files. */
export function describeImagePaths(absolute: string, manifest: Manifest): Image {
  return {
    folder: absolute,
    manifest,
    kernelPath: join(absolute, manifest.kernel.file),
    initrdPath: manifest.initrd === null ? undefined : join(absolute, manifest.initrd),
    rootPath: manifest.root.filesystem === 'initramfs' ? undefined : join(absolute, manifest.root.file),
  };
}

/** @throws ImageError `image-invalid` */
export async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, manifestFileName);
  try {
    const manifest: unknown = JSON.parse(await readFile(path, 'utf8'));
    refuseOtherFormat(path, manifest);
    return manifestSchema.parse(manifest);
  } catch (cause) {
    if (cause instanceof ImageError) throw cause;
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new ImageError('image-invalid', `there is no guest image in ${folder} (no ${manifestFileName})`, {
        cause,
      });
    }
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new ImageError('image-invalid', `${path} is not the manifest of a guest image: ${why}`, { cause });
  }
}

/** One sentence, instead of one about each key that is another in that format. */
function refuseOtherFormat(path: string, manifest: unknown): void {
  const format = (manifest as { format?: unknown } | null)?.format;
  if (typeof format !== 'number' || format === imageFormat) return;
  throw new ImageError(
    'image-invalid',
    `${path} is of format ${format} and this program reads format ${imageFormat}: build the image again`,
  );
}
