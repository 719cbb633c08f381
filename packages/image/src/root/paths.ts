/** Paths of the guest's root, as text: relative, without a leading slash. */
import { posix } from 'node:path';
import { agentFolder, nodePath } from '../boot-protocol.ts';

/** Where a path is since Debian's merge into /usr. Packages and people may still say bin/x for usr/bin/x. */
export function mergedPath(path: string): string {
  return path.replace(/^(usr\/)?s?bin(?=\/|$)/, 'usr/bin').replace(/^lib(64)?(?=\/|$)/, 'usr/lib$1');
}

const hookFolder = 'etc/coracle/boot.d';

/** Where the agent looks for boot hooks (packages/agent, boot-hooks.ts). */
export function hookPath(name: string): string {
  return `${hookFolder}/${name}`;
}

/** The agent mounts these over whatever the image has there (packages/agent, boot.ts). */
const mountedOver = ['dev', 'proc', 'run', 'sys', 'tmp', 'var'];

/** Why nothing may be put at a path that an image cannot do without; undefined when it may. */
export function protectedPath(path: string): string | undefined {
  const merged = mergedPath(path);
  if (merged === nodePath.slice(1)) return `${nodePath} is the image's Node; node.package says which`;
  return isInside(merged, agentFolder.slice(1)) ? `${agentFolder} is the agent's` : undefined;
}

/** Why a recipe may not put anything at a path; undefined when it may. */
export function refusedPath(path: string): string | undefined {
  const tree = mountedOver.find((one) => isInside(path, one));
  if (tree)
    return `/${tree} is mounted over at boot, so nothing would be seen of it; a boot hook can make it`;
  return protectedPath(path);
}

export function isInside(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}

/** The path that a link at `path` leads to; undefined when it climbs out of the root. */
export function linkTarget(path: string, target: string): string | undefined {
  if (target.startsWith('/')) return posix.normalize(target).slice(1);
  const reached = posix.normalize(posix.join(posix.dirname(path), target));
  return isInside(reached, '..') ? undefined : reached.replace(/^\.$/, '');
}
