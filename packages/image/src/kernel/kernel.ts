/** A kernel that an image can be made with, wherever it is from. */
import type { KernelModule } from './modules.ts';

/** Debian's package as it is, or compiled from Debian's source with the recipe's configuration. */
export type KernelOrigin = 'prebuilt' | 'built';

/** What an image is made with. */
export interface Kernel {
  origin: KernelOrigin;
  /** As uname -r says it. */
  release: string;
  /** The ELF file that QEMU enters by PVH, not compressed; undefined where the kernel has no such entry. */
  vmlinuxPath: string | undefined;
  /** The bzImage. */
  vmlinuzPath: string;
  /** Its .config. */
  configPath: string;
  /** Loaded by /init, in this order; a kernel of our own has all built in. */
  modules: KernelModule[];
  /** Loaded only when asked for, each with what it needs besides `modules`. */
  modulesOnRequest: { module: KernelModule; dependencies: KernelModule[] }[];
  modulesFolder: string;
  /** Names out of 9p, erofs, ext4, overlay, virtiofs, xfs: what a share or disk may be mounted as. */
  filesystems: string[];
  /** What the link to the host may go over. */
  transports: ('virtio-serial' | 'vsock')[];
}

export const reportedFilesystems = ['9p', 'erofs', 'ext4', 'overlay', 'virtiofs', 'xfs'];
