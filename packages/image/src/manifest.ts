import { z } from 'zod';

export const manifestFileName = 'manifest.json';
/** Every file that an image may have besides the manifest; which ones it has, the manifest says. */
export const imageFileNames = [
  // What QEMU and the guest read.
  'vmlinux',
  'vmlinuz',
  'initrd.img',
  'rootfs.erofs',
  'rootfs.ext4',
  // What people and programs read that look into an image.
  'kernel.config',
  'contents.json',
  'sbom.cdx.json',
] as const;
export type ImageFileName = (typeof imageFileNames)[number];

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const file = z.object({ sizeBytes: z.int().nonnegative(), sha256 });

/**
 * 2: an image may have no initramfs or no root disk, and other kernels. Format 1 had vmlinuz, initrd.img and
 * rootfs.erofs; builders and readers of it are gone.
 */
export const imageFormat = 2;

/** Unknown keys are let through: a newer builder may add some without changing the format. */
export const manifestSchema = z.object({
  format: z.literal(imageFormat),
  name: z.string(),
  architecture: z.literal('x86_64'),
  /** Digest of everything that the image was made from; the same digest means the same bits. */
  inputs: sha256,
  kernel: z.object({
    release: z.string(),
    /** Debian's package as it is, or compiled from Debian's source with our configuration. */
    origin: z.enum(['prebuilt', 'built']),
    /** The file that QEMU takes. vmlinux is not compressed and is entered by PVH. */
    file: z.enum(['vmlinux', 'vmlinuz']),
    /** Kernel command line that this image needs; whoever boots it adds the console and the like. */
    arguments: z.array(z.string()),
    /** Names out of 9p, erofs, ext4, overlay, virtiofs, xfs: what a share or disk may be mounted as. */
    filesystems: z.array(z.string()),
    /** What the link may go over; for vsock a kernel with modules wants `coracle.modules=vmw_vsock_virtio_transport`. */
    transports: z.array(z.enum(['virtio-serial', 'vsock'])),
    /** Loaded by /init, in this order. A kernel of our own has none. */
    modules: z.array(z.string()),
    /** Loaded only when the kernel's command line asks for them. */
    modulesOnRequest: z.array(z.string()),
  }),
  /** null where the kernel mounts the root by itself. */
  initrd: z.literal('initrd.img').nullable(),
  root: z.discriminatedUnion('filesystem', [
    z.object({
      filesystem: z.enum(['erofs', 'ext4']),
      file: z.enum(['rootfs.erofs', 'rootfs.ext4']),
      compression: z.enum(['none', 'lz4', 'lz4hc']),
      /**
       * How the guest reads it. pmem: mapped from the host's page cache, which all VMs share, without a copy (the file is
       * a multiple of 2 MiB); virtio-blk: as a disk.
       */
      device: z.enum(['pmem', 'virtio-blk']),
      /** Serial number that the virtio disk must carry for /init to find it. */
      diskSerial: z.string(),
      /** Blocks of 4096 bytes; the hash tree follows the data in the same file. null: the root is not checked. */
      verity: z
        .object({
          algorithm: z.literal('sha256'),
          rootHash: sha256,
          /** Hex. */
          salt: z.string(),
          dataBlocks: z.int().positive(),
          /** Block in which the hash tree begins. */
          hashStartBlock: z.int().positive(),
        })
        .nullable(),
    }),
    z.object({ filesystem: z.literal('initramfs'), file: z.literal('initrd.img') }),
  ]),
  /** Of the main parts: agent is the digest of its files, the others are upstream versions. */
  versions: z.record(z.string(), z.string()),
  packages: z.array(
    z.object({ source: z.enum(['debian', 'npm']), name: z.string(), version: z.string(), sha256 }),
  ),
  files: z.partialRecord(z.enum(imageFileNames), file),
});

export type Manifest = z.infer<typeof manifestSchema>;
