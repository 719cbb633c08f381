/** Files and folders in an image, read from its file system itself. */
import { lstat, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../errors.ts';
import { loadImage } from '../load.ts';
import { resolveInRoot } from '../root/resolve.ts';
import { readTree, type TreePath } from '../root/tree.ts';
import { withExtractedRoot } from './extract.ts';

export interface LookOptions {
  signal?: AbortSignal | undefined;
}

/**
 * What lies in a folder of the image's root, sorted; for a file just that. Paths are relative to the root. Links
 * are followed inside the root only.
 * @throws ImageError `image-invalid`; `input-missing` for a path that is not there.
 */
export async function listImage(folder: string, path = '/', options: LookOptions = {}): Promise<TreePath[]> {
  const image = await loadImage(folder, { checkDigests: true, signal: options.signal });
  return withExtractedRoot(
    image,
    async (root) => {
      const found = await find(root.folder, path);
      const all = await readTree(root.folder);
      const itself = all.find((entry) => entry.path === found);
      if (itself && itself.type !== 'directory') return [itself];
      const prefix = found === '' ? '' : `${found}/`;
      return all.filter(
        (entry) => entry.path.startsWith(prefix) && !entry.path.slice(prefix.length).includes('/'),
      );
    },
    options.signal,
  );
}

/**
 * A file's content.
 * @throws ImageError `image-invalid`; `input-missing` for a path that is not there or is a folder.
 */
export async function readImageFile(
  folder: string,
  path: string,
  options: LookOptions = {},
): Promise<Buffer<ArrayBuffer>> {
  const image = await loadImage(folder, { checkDigests: true, signal: options.signal });
  return withExtractedRoot(
    image,
    async (root) => {
      const host = join(root.folder, await find(root.folder, path));
      if ((await lstat(host)).isFile()) return readFile(host);
      throw new ImageError('input-missing', `${absolute(path)} in the image is a folder`);
    },
    options.signal,
  );
}

async function find(root: string, path: string): Promise<string> {
  const found = await resolveInRoot(root, path);
  if (found !== undefined) return found;
  throw new ImageError(
    'input-missing',
    `there is no ${absolute(path)} in the image, or a link there leads nowhere`,
  );
}

function absolute(path: string): string {
  return `/${path.replace(/^\/+/, '')}`;
}

/**
 * The image's SBOM, as the text of a CycloneDX document.
 * @throws ImageError `image-invalid`
 */
export async function readSbom(folder: string, options: LookOptions = {}): Promise<string> {
  const image = await loadImage(folder, { checkDigests: true, signal: options.signal });
  if (image.manifest.files['sbom.cdx.json']) return readFile(join(image.folder, 'sbom.cdx.json'), 'utf8');
  throw new ImageError('image-invalid', `the image ${image.folder} has no SBOM; build it again`);
}
