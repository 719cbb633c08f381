/** What an image says of itself: contents.json, sbom.cdx.json and manifest.json. */
import { lstat, readdir, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Contents, ContentsEntry } from './contents.ts';
import { sha256File } from './digest.ts';
import type { ImageInputs } from './inputs.ts';
import type { Kernel } from './kernel/kernel.ts';
import { moduleKey } from './kernel/modules.ts';
import {
  type ImageFileName,
  imageFileNames,
  imageFormat,
  type Manifest,
  manifestFileName,
} from './manifest.ts';
import type { PinnedPackage } from './pins/packages.ts';
import type { UnpackedPackage } from './root/libraries.ts';
import type { TreeEntry } from './root/root-tree.ts';
import { gatherSbomInputs } from './sbom/inputs.ts';
import { upstreamVersion } from './sbom/package-names.ts';
import { makeSbom } from './sbom/sbom.ts';

export interface Made {
  inputs: ImageInputs;
  kernel: Kernel;
  /** What the kernel's command line must hold. */
  kernelArguments: readonly string[];
  initrd: Manifest['initrd'];
  root: Manifest['root'];
  /** Folder on the host from which the root filesystem was made. */
  tree: string;
  entries: readonly TreeEntry[];
  /** Debian packages on the host, for their licences; without them the SBOM names none. */
  packages?: readonly UnpackedPackage[];
  signal?: AbortSignal | undefined;
}

/** Writes the files that describe the image beside those that were made; the manifest last. */
export async function describeImage(folder: string, made: Made): Promise<void> {
  const contents = await describeContents(made);
  await writeFile(join(folder, 'contents.json'), json(contents));
  await writeFile(
    join(folder, 'sbom.cdx.json'),
    makeSbom(await gatherSbomInputs(folder, made, usedPackages(made))),
  );
  await writeFile(join(folder, manifestFileName), json(await describeManifest(folder, made)));
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}

async function describeContents({ tree, entries, signal }: Made): Promise<Contents> {
  const described: ContentsEntry[] = [];
  for (const { path, type, origin } of entries) {
    const host = join(tree, path);
    const { mode, size } = await lstat(host);
    const common = { path, mode: (mode & 0o7777).toString(8).padStart(4, '0'), origin };
    if (type === 'directory') described.push({ type, ...common });
    else if (type === 'symlink') described.push({ type, ...common, target: await readlink(host) });
    else described.push({ type, ...common, sizeBytes: size, sha256: await sha256File(host, signal) });
  }
  return { format: 1, entries: described };
}

async function describeManifest(folder: string, made: Made): Promise<Manifest> {
  const { inputs, kernel, initrd, root, signal } = made;
  const { recipe, pinned, node } = inputs;
  const files: Manifest['files'] = {};
  for (const name of await readdir(folder)) {
    if (!isImageFile(name)) continue;
    const path = join(folder, name);
    files[name] = { sizeBytes: (await lstat(path)).size, sha256: await sha256File(path, signal) };
  }
  const debian = [pinned.kernel, ...usedPackages(made)];
  const upstream = (name: string) => {
    const found = debian.find((one) => one.name === name);
    return found && upstreamVersion(found.version);
  };
  const { crun, busybox } = { crun: upstream('crun'), busybox: upstream('busybox-static') };
  return {
    format: imageFormat,
    name: recipe.name,
    architecture: 'x86_64',
    inputs: inputs.digest,
    kernel: {
      release: kernel.release,
      origin: kernel.origin,
      file: kernel.vmlinuxPath === undefined ? 'vmlinuz' : 'vmlinux',
      arguments: [...made.kernelArguments],
      filesystems: kernel.filesystems,
      transports: kernel.transports,
      modules: kernel.modules.map((module) => moduleKey(module.path)),
      modulesOnRequest: kernel.modulesOnRequest.map(({ module }) => moduleKey(module.path)),
    },
    initrd,
    root,
    versions: {
      agent: inputs.agentDigest,
      kernel: kernel.release,
      node: node.version,
      ...(crun ? { crun } : {}),
      ...(busybox ? { busybox } : {}),
    },
    packages: [
      ...debian.map(({ name, version, sha256 }) => ({ source: 'debian' as const, name, version, sha256 })),
      { source: 'npm', name: node.packageName, version: node.version, sha256: node.sha256 },
    ],
    files,
  };
}

/** Of the pinned packages those that something in the root is from, besides the kernel. */
function usedPackages({ inputs, entries }: Made): PinnedPackage[] {
  const used = new Set(entries.flatMap(({ origin }) => (origin.kind === 'debian' ? [origin.package] : [])));
  return inputs.pinned.packages.filter((one) => used.has(one.name));
}

function isImageFile(name: string): name is ImageFileName {
  return (imageFileNames as readonly string[]).includes(name);
}
