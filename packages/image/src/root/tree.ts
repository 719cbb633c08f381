/** What is in a folder of the host that holds a guest's root, whoever put it there. */
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../errors.ts';

export type TreePath =
  | { readonly type: 'directory'; readonly path: string; readonly mode: number }
  | { readonly type: 'file'; readonly path: string; readonly mode: number; readonly sizeBytes: number }
  | { readonly type: 'symlink'; readonly path: string; readonly mode: number; readonly target: string };

/**
 * Everything below `folder`, without the folder itself, sorted by path byte for byte. A folder comes before what
 * lies in it.
 * @throws ImageError `image-invalid` for a device node, socket or pipe.
 */
export async function readTree(folder: string): Promise<TreePath[]> {
  const found: TreePath[] = [];
  const walk = async (parent: string): Promise<void> => {
    for (const name of await readdir(join(folder, parent))) {
      const path = parent ? `${parent}/${name}` : name;
      const entry = await describe(folder, path);
      found.push(entry);
      if (entry.type === 'directory') await walk(path);
    }
  };
  await walk('');
  return found.sort((a, b) => Buffer.compare(Buffer.from(a.path), Buffer.from(b.path)));
}

async function describe(folder: string, path: string): Promise<TreePath> {
  const host = join(folder, path);
  const stats = await lstat(host);
  const mode = stats.mode & 0o7777;
  if (stats.isDirectory()) return { type: 'directory', path, mode };
  if (stats.isFile()) return { type: 'file', path, mode, sizeBytes: stats.size };
  if (stats.isSymbolicLink()) return { type: 'symlink', path, mode, target: await readlink(host) };
  throw new ImageError('image-invalid', `/${path} in the root is neither a folder nor a file nor a link`);
}
