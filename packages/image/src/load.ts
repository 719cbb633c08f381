import { readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { sha256File } from './digest.ts';
import { ImageError } from './errors.ts';
import { type Manifest, manifestFileName, manifestSchema } from './manifest.ts';

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
  for (const [name, wanted] of Object.entries(manifest.files)) {
    const path = join(absolute, name);
    const found = await stat(path).catch((cause) => {
      throw new ImageError('image-invalid', `the image ${absolute} has no ${name}: ${cause.message}`, {
        cause,
      });
    });
    if (found.size !== wanted.sizeBytes) {
      throw new ImageError(
        'image-invalid',
        `${path} has ${found.size} bytes and should have ${wanted.sizeBytes}: it was cut or changed; build the image again`,
      );
    }
    if (!options.checkDigests) continue;
    const digest = await sha256File(path, options.signal);
    if (digest === wanted.sha256) continue;
    throw new ImageError(
      'image-invalid',
      `${path} has SHA-256 ${digest} and should have ${wanted.sha256}: it was changed; build the image again`,
    );
  }
  return {
    folder: absolute,
    manifest,
    kernelPath: join(absolute, manifest.kernel.file),
    initrdPath: manifest.initrd === null ? undefined : join(absolute, manifest.initrd),
    rootPath: manifest.root.filesystem === 'initramfs' ? undefined : join(absolute, manifest.root.file),
  };
}

async function readManifest(folder: string): Promise<Manifest> {
  const path = join(folder, manifestFileName);
  try {
    return manifestSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') {
      throw new ImageError('image-invalid', `there is no guest image in ${folder} (no ${manifestFileName})`, {
        cause,
      });
    }
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new ImageError('image-invalid', `${path} is not the manifest of a guest image: ${why}`, { cause });
  }
}
