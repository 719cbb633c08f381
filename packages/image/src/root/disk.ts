/** The root filesystem as a file, and what the kernel must be told to mount it by itself. */
import { stat, truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { agentInitPath, rootDiskSerial } from '../boot-protocol.ts';
import type { Manifest } from '../manifest.ts';
import type { Recipe } from '../recipe/recipe.ts';
import { makeErofs } from './erofs.ts';
import { makeExt4 } from './ext4.ts';
import { addVerity, verityArgument } from './verity.ts';

/** A root that is mapped is mapped in pages of this size (Documentation/filesystems/dax.rst). */
const mappedUnitBytes = 2 << 20;

export type RootDisk = Exclude<Manifest['root'], { filesystem: 'initramfs' }>;

/** @param maps whether the kernel can map the root from the host's memory */
export async function makeRootDisk(
  tree: string,
  folder: string,
  { filesystem, compression, verity }: Recipe['root'] & { filesystem: 'erofs' | 'ext4' },
  maps: boolean,
  signal?: AbortSignal,
): Promise<RootDisk> {
  const file = filesystem === 'erofs' ? 'rootfs.erofs' : 'rootfs.ext4';
  const path = join(folder, file);
  if (filesystem === 'erofs') await makeErofs(tree, path, signal, compression);
  else await makeExt4(tree, path, signal);
  // What is unpacked, or checked, as it is read cannot be used where it lies.
  const device = maps && compression === 'none' && !verity ? 'pmem' : 'virtio-blk';
  if (device === 'pmem') await pad(path);
  return {
    filesystem,
    file,
    compression,
    device,
    diskSerial: rootDiskSerial,
    verity: verity ? await addVerity(path, signal) : null,
  };
}

async function pad(path: string): Promise<void> {
  const { size } = await stat(path);
  await truncate(path, Math.ceil(size / mappedUnitBytes) * mappedUnitBytes);
}

/** For a kernel that has everything built in and gets no initramfs (Documentation/admin-guide/kernel-parameters.txt). */
export function rootArguments(root: RootDisk): string[] {
  const common = [`rootfstype=${root.filesystem}`, 'ro', 'rootwait', `init=${agentInitPath}`];
  if (root.device === 'pmem') return ['root=/dev/pmem0', 'rootflags=dax', ...common];
  if (root.verity) return [verityArgument(root.verity, '/dev/vda'), 'root=/dev/dm-0', ...common];
  return ['root=/dev/vda', ...common];
}
