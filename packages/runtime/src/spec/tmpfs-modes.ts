/** A tmpfs over a folder of the image has that folder's mode, as with runc; crun would give it 1777. */
import { realpathSync, statSync } from 'node:fs';
import { join, normalize } from 'node:path';

interface LooseMount {
  readonly destination: string;
  readonly type?: string;
  readonly options?: readonly string[] | null;
}

/** config.json with `mode=` for each tmpfs that has none. A path with symbolic links is left to crun. */
export function withTmpfsModes<T extends { readonly mounts?: readonly LooseMount[] | null }>(
  config: T,
  rootfs: string,
): T {
  if (!config.mounts?.some(isModeless)) return config;
  const mounts = config.mounts.map((mount) => {
    const mode = isModeless(mount) ? modeOf(rootfs, mount.destination) : undefined;
    if (mode === undefined) return mount;
    return { ...mount, options: [...(mount.options ?? []), `mode=${mode.toString(8)}`] };
  });
  return { ...config, mounts };
}

const isModeless = ({ type, options }: LooseMount): boolean =>
  type === 'tmpfs' && !options?.some((option) => option.startsWith('mode='));

function modeOf(rootfs: string, destination: string): number | undefined {
  try {
    const path = join(realpathSync(rootfs), normalize(`/${destination}`));
    const stat = statSync(path);
    return realpathSync(path) === path && stat.isDirectory() ? stat.mode & 0o7777 : undefined;
  } catch {
    // It is not there: crun makes it.
    return undefined;
  }
}
