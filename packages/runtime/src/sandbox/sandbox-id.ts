import { createHash } from 'node:crypto';

/**
 * The name of a container's VM: short, since it is part of socket paths, which have 107 bytes in all, and
 * different for the same id under another root.
 */
export function sandboxIdOf(root: string, id: string): string {
  return createHash('sha256').update(`${root}\0${id}`).digest('hex').slice(0, 16);
}
