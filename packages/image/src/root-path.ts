/** Finds a path in an unpacked root as the guest would: links are followed inside the root only. */
import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from './errors.ts';

/** As many as the kernel follows (path_resolution(7)). */
const linksAtMost = 40;

/**
 * @param path absolute in the guest, or relative to its root
 * @returns the path relative to the root, without links in it; '' for the root itself
 * @throws ImageError `input-missing`, naming the path.
 */
export async function resolveInRoot(root: string, path: string): Promise<string> {
  const asked = `/${path.replace(/^\/+/, '')}`;
  const fail = (why: string): never => {
    throw new ImageError('input-missing', `the image has no ${asked}${why}`);
  };
  const waiting = path.split('/');
  let links = 0;
  let found: string[] = [];
  for (let part = waiting.shift(); part !== undefined; part = waiting.shift()) {
    if (part === '' || part === '.') continue;
    if (part === '..') {
      found.pop();
      continue;
    }
    const here = join(root, ...found, part);
    const stats = await lstat(here).catch(() => {
      const missing = `/${[...found, part].join('/')}`;
      return fail(missing === asked ? '' : `: there is no ${missing}`);
    });
    if (stats.isSymbolicLink()) {
      if (++links > linksAtMost) fail(': too many links');
      const target = await readlink(here);
      if (target.startsWith('/')) found = [];
      waiting.unshift(...target.split('/'));
      continue;
    }
    found.push(part);
    // What follows must lie in it, be it only an empty part.
    if (waiting.length > 0 && !stats.isDirectory()) fail(`: /${found.join('/')} is no folder`);
  }
  return found.join('/');
}

/** As `resolveInRoot`; undefined when there is nothing. */
export async function findInRoot(root: string, path: string): Promise<string | undefined> {
  try {
    return await resolveInRoot(root, path);
  } catch (error) {
    if (error instanceof ImageError && error.code === 'input-missing') return undefined;
    throw error;
  }
}
