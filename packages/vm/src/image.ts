import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { resolve } from 'node:path';
import { VmError } from './errors.ts';

/** What the VM needs of an image folder (docs/images.md describes `manifest.json` in full). */
export interface VmImage {
  readonly directory: string;
  readonly kernel: string;
  /** undefined: the kernel mounts the root by itself. */
  readonly initrd: string | undefined;
  /** undefined: the root is the initrd. */
  readonly root: VmRoot | undefined;
  /** Words of the kernel command line that only the image knows. */
  readonly kernelArguments: readonly string[];
  /** Stands for the kernel and initrd: a probe of KVM is good for this pair. */
  readonly bootDigest: string;
  /** What the guest's kernel can carry the link over. */
  readonly transports: readonly string[];
  /** The guest's kernel can mount 9p over virtio. */
  readonly has9p: boolean;
  /** The files above, for `checkImageFiles`. */
  readonly files: readonly ImageFile[];
}

export interface VmRoot {
  readonly path: string;
  readonly sizeBytes: number;
  /** pmem: mapped, without a copy for each VM; virtio-blk: a disk. */
  readonly device: 'pmem' | 'virtio-blk';
}

export interface ImageFile {
  readonly path: string;
  readonly sizeBytes: number;
  readonly sha256: string;
  /** The guest checks each block as it reads it (dm-verity). */
  readonly checkedByGuest: boolean;
}

/** As much of `manifest.json` as is used here; nothing of it is trusted to be there. */
interface Manifest {
  readonly initrd?: unknown;
  readonly root?: {
    readonly filesystem?: unknown;
    readonly file?: unknown;
    readonly device?: unknown;
    readonly verity?: unknown;
  };
  readonly kernel?: {
    readonly file?: unknown;
    readonly arguments?: unknown;
    readonly filesystems?: unknown;
    readonly transports?: unknown;
  };
  readonly files?: Readonly<Record<string, { readonly sizeBytes?: unknown; readonly sha256?: unknown }>>;
}

const remedy = 'Build the guest image with `make image`.';

/**
 * Sizes are compared here, contents by `checkImageFiles`.
 * @throws VmError `image-missing`, `image-invalid`.
 */
export function openImage(directory: string): VmImage {
  // QEMU runs in the sandbox's folder, so a relative path would mean another file there.
  const manifest = readManifest(readable(directory, 'manifest.json'));
  const { kernel, root } = manifest;
  if (typeof kernel?.file !== 'string' || typeof root?.file !== 'string')
    throw new VmError('image-invalid', `${directory}/manifest.json is of another version`, { remedy });
  const describe = (name: string, checkedByGuest = false) =>
    describeFile(directory, name, manifest, checkedByGuest);
  const kernelFile = describe(kernel.file);
  const initrdFile = typeof manifest.initrd === 'string' ? describe(manifest.initrd) : undefined;
  const rootFile = root.filesystem === 'initramfs' ? undefined : describe(root.file, isObject(root.verity));
  return {
    directory,
    kernel: kernelFile.path,
    initrd: initrdFile?.path,
    root: rootFile && {
      path: rootFile.path,
      sizeBytes: rootFile.sizeBytes,
      device: root.device === 'pmem' ? 'pmem' : 'virtio-blk',
    },
    kernelArguments: strings(kernel.arguments),
    bootDigest: [kernelFile, ...(initrdFile ? [initrdFile] : [])].map(({ sha256 }) => sha256).join('+'),
    transports: strings(kernel.transports),
    has9p: strings(kernel.filesystems).includes('9p'),
    files: [kernelFile, ...(initrdFile ? [initrdFile] : []), ...(rootFile ? [rootFile] : [])],
  };
}

function describeFile(
  directory: string,
  name: string,
  manifest: Manifest,
  checkedByGuest: boolean,
): ImageFile {
  const path = readable(directory, name);
  const { sizeBytes, sha256 } = manifest.files?.[name] ?? {};
  if (typeof sizeBytes !== 'number' || typeof sha256 !== 'string')
    throw new VmError('image-invalid', `${directory}/manifest.json does not say what ${name} is`, { remedy });
  const { size } = statSync(path);
  if (size !== sizeBytes) {
    throw new VmError(
      'image-invalid',
      `${path} has ${size} bytes and should have ${sizeBytes}: it was cut or changed`,
      { remedy },
    );
  }
  return { path, sizeBytes, sha256, checkedByGuest };
}

function readable(directory: string, name: string): string {
  const path = resolve(directory, name);
  try {
    accessSync(path, constants.R_OK);
  } catch (cause) {
    const reason = (cause as Error).message;
    throw new VmError('image-missing', `the guest image ${directory} has no readable ${name}: ${reason}`, {
      remedy,
      cause,
    });
  }
  return path;
}

function readManifest(path: string): Manifest {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Manifest;
  } catch (cause) {
    throw new VmError('image-invalid', `cannot read ${path}: ${(cause as Error).message}`, { remedy, cause });
  }
}

function strings(value: unknown): string[] {
  return Array.isArray(value) ? value.map(String) : [];
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}
