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
  readonly rootfs: string | undefined;
  /** Words of the kernel command line that only the image knows. */
  readonly kernelArguments: readonly string[];
  /** Stands for the kernel and initrd: a probe of KVM is good for this pair. */
  readonly bootDigest: string;
  /** Modules that /init loads when asked to. */
  readonly modulesOnRequest: readonly string[];
  /** The guest's kernel can mount 9p over virtio. */
  readonly has9p: boolean;
}

interface Manifest {
  readonly initrd?: unknown;
  readonly root?: { readonly filesystem?: unknown; readonly file?: unknown };
  readonly kernel?: {
    readonly file?: unknown;
    readonly arguments?: unknown;
    readonly filesystems?: unknown;
    readonly modulesOnRequest?: unknown;
  };
  readonly files?: Readonly<Record<string, { readonly sha256?: string }>>;
}

const remedy = 'Build the guest image with `make image`.';

/** @throws VmError `image-missing`, `image-invalid`. */
export function openImage(directory: string): VmImage {
  const file = (name: string) => {
    // QEMU runs in the sandbox's folder, so a relative path would mean another file there.
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
  };
  const manifest = readManifest(file('manifest.json'));
  if (typeof manifest.kernel?.file !== 'string' || typeof manifest.root?.file !== 'string') {
    throw new VmError('image-invalid', `${directory}/manifest.json is of an older builder`, { remedy });
  }
  const kernelName = manifest.kernel.file;
  const kernel = file(kernelName);
  const initrd = typeof manifest.initrd === 'string' ? file(manifest.initrd) : undefined;
  const rootfs = manifest.root.filesystem === 'initramfs' ? undefined : file(manifest.root.file);
  const words = manifest.kernel?.arguments;
  const { filesystems, modulesOnRequest } = manifest.kernel ?? {};
  return {
    directory,
    kernel,
    initrd,
    rootfs,
    kernelArguments: Array.isArray(words) ? words.map(String) : [],
    bootDigest: [
      digestOf(manifest, kernelName, kernel),
      ...(initrd === undefined ? [] : [digestOf(manifest, 'initrd.img', initrd)]),
    ].join('+'),
    modulesOnRequest: Array.isArray(modulesOnRequest) ? modulesOnRequest.map(String) : [],
    has9p: Array.isArray(filesystems) && filesystems.includes('9p'),
  };
}

function readManifest(path: string): Manifest {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as Manifest;
  } catch (cause) {
    throw new VmError('image-invalid', `cannot read ${path}: ${(cause as Error).message}`, { remedy, cause });
  }
}

/** The manifest's digest, without reading 18 MB at each start. */
function digestOf(manifest: Manifest, name: string, path: string): string {
  const stat = statSync(path);
  return manifest.files?.[name]?.sha256 ?? `${stat.size}-${stat.mtimeMs}`;
}
