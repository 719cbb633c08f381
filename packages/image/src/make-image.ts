/** From fetched packages to the files of an image. */
import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { agentInitPath } from './boot-protocol.ts';
import { describeImage } from './describe.ts';
import { ImageError } from './errors.ts';
import type { ImageInputs } from './inputs.ts';
import type { Kernel } from './kernel/kernel.ts';
import { readPrebuiltKernel } from './kernel/prebuilt.ts';
import type { Manifest } from './manifest.ts';
import { stripNode } from './pins/node-package.ts';
import type { Progress } from './progress.ts';
import { placeOf } from './recipe/recipe.ts';
import { makeRootDisk, rootArguments } from './root/disk.ts';
import { makeInitramfs } from './root/initramfs.ts';
import { makeInitrd } from './root/initrd.ts';
import type { UnpackedPackage } from './root/libraries.ts';
import { fillRoot, packageFolder } from './root/rootfs.ts';
import { run } from './run.ts';

export interface MakeImage {
  /** What is made is put here. */
  folder: string;
  /** For what is needed only meanwhile. */
  scratch: string;
  inputs: ImageInputs;
  /** Package name to .deb. */
  archives: ReadonlyMap<string, string>;
  /** Our own; undefined: the prebuilt one is among the packages. */
  kernel: Kernel | undefined;
  progress: Progress;
  signal?: AbortSignal | undefined;
}

export async function makeImage(options: MakeImage): Promise<void> {
  const { folder, scratch, inputs, progress, signal } = options;
  const { recipe, pinned, node } = inputs;
  refuseUnbootable(options);
  const packages = await progress.step('unpack packages', () =>
    Promise.all(pinned.packages.map(({ name }) => unpack(options, name))),
  );
  const kernel = options.kernel ?? (await prebuiltKernel(options));
  await copyKernel(kernel, folder);
  const tree = join(scratch, 'root');
  const nodePackage = node.packageName;
  const entries = await progress.step('put the root filesystem together', async () => {
    const stripped = join(scratch, 'node');
    await stripNode(node, stripped, signal);
    return fillRoot(tree, {
      recipe,
      node: stripped,
      nodePackage,
      agent: inputs.agentFolder,
      packages,
      // /init is what the kernel starts in an initramfs.
      links: recipe.root.filesystem === 'initramfs' ? { init: agentInitPath } : {},
      scratch,
      signal,
    });
  });
  const root = await progress.step(`make the root filesystem (${recipe.root.filesystem})`, () =>
    makeRoot(options, kernel, tree),
  );
  const initrd = kernel.origin === 'prebuilt' || root.filesystem === 'initramfs' ? 'initrd.img' : null;
  if (initrd && root.filesystem !== 'initramfs') {
    await progress.step(`make initrd.img (${kernel.modules.length} modules)`, async () => {
      const busybox = join(packageFolder(packages, 'busybox-static'), 'bin/busybox');
      await writeFile(join(folder, initrd), await makeInitrd(kernel, busybox, root.filesystem));
    });
  }
  const kernelArguments = [
    ...(initrd || root.filesystem === 'initramfs' ? [] : rootArguments(root)),
    ...recipe.kernel.arguments,
  ];
  await describeImage(folder, {
    inputs,
    kernel,
    kernelArguments,
    initrd,
    root,
    tree,
    entries,
    packages,
    signal,
  });
  signal?.throwIfAborted();
}

/** What only a kernel with everything built in can do. */
function refuseUnbootable({ kernel, inputs: { recipe } }: MakeImage): void {
  const { filesystem, verity } = recipe.root;
  const refuse = (key: string, what: string) => {
    throw new ImageError('recipe-invalid', `${placeOf(recipe, 'root', key)}: ${what}`);
  };
  if (verity && filesystem === 'initramfs') refuse('verity', 'an initramfs cannot be checked by dm-verity');
  if (kernel) return;
  const remedy = 'build our own first: `coracle-image kernel RECIPE` (`make kernel`)';
  if (verity) refuse('verity', `Debian's kernel has dm-verity as a module, too late for the root; ${remedy}`);
  if (filesystem === 'initramfs')
    refuse('filesystem', `with Debian's kernel an initramfs would have none of its modules; ${remedy}`);
}

async function unpack({ scratch, archives, signal }: MakeImage, name: string): Promise<UnpackedPackage> {
  const target = join(scratch, 'packages', name);
  await mkdir(target, { recursive: true });
  await run('dpkg-deb', ['-x', archives.get(name) ?? '', target], { signal, debianPackage: 'dpkg' });
  return { name, folder: target };
}

async function prebuiltKernel(options: MakeImage): Promise<Kernel> {
  const { inputs, scratch, progress, signal } = options;
  return progress.step('unpack the kernel', async () => {
    const { folder } = await unpack(options, inputs.pinned.kernel.name);
    return readPrebuiltKernel(folder, inputs.recipe, scratch, signal);
  });
}

async function copyKernel(kernel: Kernel, folder: string): Promise<void> {
  if (kernel.vmlinuxPath !== undefined) await copyFile(kernel.vmlinuxPath, join(folder, 'vmlinux'));
  await copyFile(kernel.vmlinuzPath, join(folder, 'vmlinuz'));
  await copyFile(kernel.configPath, join(folder, 'kernel.config'));
}

async function makeRoot(
  { folder, inputs, signal }: MakeImage,
  kernel: Kernel,
  tree: string,
): Promise<Manifest['root']> {
  const { root } = inputs.recipe;
  if (root.filesystem === 'initramfs') {
    await makeInitramfs(tree, join(folder, 'initrd.img'), signal);
    return { filesystem: 'initramfs', file: 'initrd.img' };
  }
  return makeRootDisk(
    tree,
    folder,
    { ...root, filesystem: root.filesystem },
    kernel.origin === 'built',
    signal,
  );
}
