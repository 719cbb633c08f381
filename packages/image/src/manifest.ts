import { z } from 'zod';

export const manifestFileName = 'manifest.json';
export const imageFileNames = ['vmlinuz', 'initrd.img', 'rootfs.erofs'] as const;
export type ImageFileName = (typeof imageFileNames)[number];

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const file = z.object({ sizeBytes: z.int().nonnegative(), sha256 });

/** Unknown keys are let through: a newer builder may add some without changing the format. */
export const manifestSchema = z.object({
  format: z.literal(1),
  name: z.string(),
  architecture: z.literal('x86_64'),
  /** Digest of everything that the image was made from; the same digest means the same bits. */
  inputs: sha256,
  kernel: z.object({
    release: z.string(),
    /** Kernel command line that this image needs; whoever boots it adds the console and the like. */
    arguments: z.array(z.string()),
    /** Names out of 9p, erofs, ext4, overlay, virtiofs, xfs: what a share or disk may be mounted as. */
    filesystems: z.array(z.string()),
    /** Loaded by /init, in this order. */
    modules: z.array(z.string()),
    /** Loaded only when the kernel's command line asks for them; images of older builders have none. */
    modulesOnRequest: z.array(z.string()).default([]),
  }),
  root: z.object({
    file: z.literal('rootfs.erofs'),
    filesystem: z.literal('erofs'),
    /** Serial number that the virtio disk must carry for /init to find it. */
    diskSerial: z.string(),
  }),
  /** Of the main parts: agent is the digest of its files, the others are upstream versions. */
  versions: z.record(z.string(), z.string()),
  packages: z.array(
    z.object({ source: z.enum(['debian', 'npm']), name: z.string(), version: z.string(), sha256 }),
  ),
  files: z.object({ vmlinuz: file, 'initrd.img': file, 'rootfs.erofs': file }),
});

export type Manifest = z.infer<typeof manifestSchema>;
