import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';

/** As the kernel's limit (path_resolution(7)). */
const maxLinks = 40;

/**
 * Follows links below a folder as if it were the root, so that an absolute one never leads to a file of the host.
 * @returns the relative path of what is no link; undefined when there is nothing
 */
export async function resolveInRoot(root: string, path: string): Promise<string | undefined> {
  const names = path.split('/');
  let reached: string[] = [];
  let links = 0;
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    if (name === '' || name === '.') continue;
    if (name === '..') {
      reached.pop();
      continue;
    }
    const next = [...reached, name];
    const stats = await lstat(join(root, ...next)).catch(() => undefined);
    if (!stats) return undefined;
    if (!stats.isSymbolicLink()) {
      reached = next;
      continue;
    }
    if (++links > maxLinks) return undefined;
    const target = await readlink(join(root, ...next));
    if (target.startsWith('/')) reached = [];
    names.unshift(...target.split('/'));
  }
  return reached.join('/');
}
