/**
 * Our own kernel: compiled from Debian's source package with the recipe's configuration, once, and then kept in the
 * cache under the digest of everything that decides its bits.
 */
import { copyFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { atomicFolder } from '../cache/cache.ts';
import { noteUse } from '../cache/use.ts';
import { sha256File, sha256Json } from '../digest.ts';
import { ImageError } from '../errors.ts';
import type { PinnedPackage } from '../pins/packages.ts';
import type { Progress } from '../progress.ts';
import { run } from '../run.ts';
import { compile } from './compile.ts';
import { configurationText, type KernelOption, notTaken, parseConfig } from './configuration.ts';
import type { Kernel } from './kernel.ts';

/** Raised when what is done below changes what comes out. */
const recipeVersion = 1;

/** Nothing of the machine, the user or the day gets into the kernel. */
const buildEnvironment = {
  KBUILD_BUILD_TIMESTAMP: 'Thu Jan 1 00:00:00 UTC 1970',
  KBUILD_BUILD_USER: 'coracle',
  KBUILD_BUILD_HOST: 'coracle',
  KBUILD_BUILD_VERSION: '1',
  LOCALVERSION: '-coracle',
};

export interface KernelInputs {
  source: PinnedPackage;
  options: readonly KernelOption[];
  compiler: string;
  /** Names the kernel in the cache. */
  digest: string;
}

export async function describeKernelInputs(
  source: PinnedPackage,
  options: readonly KernelOption[],
  signal?: AbortSignal,
): Promise<KernelInputs> {
  const version = async (file: string, debianPackage: string) =>
    (await run(file, ['--version'], { signal, debianPackage })).split('\n', 1)[0] ?? '';
  const [compiler, linker] = await Promise.all([version('gcc', 'gcc'), version('ld', 'binutils')]);
  const digest = sha256Json({
    recipeVersion,
    source: source.sha256,
    options: Object.fromEntries(options.map(({ name, value }) => [name, value])),
    compiler,
    linker,
  });
  return { source, options, compiler, digest };
}

const fileNames = ['vmlinux', 'vmlinuz', 'kernel.config'] as const;
export const kernelRecordName = 'kernel.json';
const recordSchema = z.object({
  format: z.literal(1),
  release: z.string(),
  source: z.object({ name: z.string(), version: z.string(), sha256: z.string() }),
  compiler: z.string(),
  files: z.record(z.enum(fileNames), z.string()),
});

function kernelFolder(cache: string, { digest }: KernelInputs): string {
  return join(cache, 'kernels', digest);
}

/** The kernel that was built from these inputs before; one whose files were cut or changed counts as not there. */
export async function findBuiltKernel(
  cache: string,
  inputs: KernelInputs,
  signal?: AbortSignal,
): Promise<Kernel | undefined> {
  const folder = kernelFolder(cache, inputs);
  const text = await readFile(join(folder, kernelRecordName), 'utf8').catch(() => undefined);
  if (text === undefined) return undefined;
  const { release, files } = recordSchema.parse(JSON.parse(text));
  await noteUse(folder);
  for (const name of fileNames) {
    const digest = await sha256File(join(folder, name), signal).catch(() => undefined);
    if (digest !== files[name]) return undefined;
  }
  return {
    origin: 'built',
    release,
    vmlinuxPath: join(folder, 'vmlinux'),
    vmlinuzPath: join(folder, 'vmlinuz'),
    configPath: join(folder, 'kernel.config'),
    modules: [],
    modulesOnRequest: [],
    modulesFolder: '',
    ...describeConfig(await readFile(join(folder, 'kernel.config'), 'utf8')),
  };
}

const filesystemOptions: Record<string, string> = {
  '9p': 'CONFIG_9P_FS',
  erofs: 'CONFIG_EROFS_FS',
  ext4: 'CONFIG_EXT4_FS',
  overlay: 'CONFIG_OVERLAY_FS',
  virtiofs: 'CONFIG_VIRTIO_FS',
  xfs: 'CONFIG_XFS_FS',
};

function describeConfig(config: string): Pick<Kernel, 'filesystems' | 'transports'> {
  const values = parseConfig(config);
  const has = (option: string) => values.get(option) === 'y';
  return {
    filesystems: Object.entries(filesystemOptions).flatMap(([name, option]) => (has(option) ? [name] : [])),
    transports: [
      ...(has('CONFIG_VIRTIO_CONSOLE') ? (['virtio-serial'] as const) : []),
      ...(has('CONFIG_VIRTIO_VSOCKETS') ? (['vsock'] as const) : []),
    ],
  };
}

/**
 * Compiles the kernel into the cache: some minutes. `archive`: the source package.
 * @throws ImageError `recipe-invalid` for options that the kernel does not take, `tool-failed` with the compiler's words
 */
export async function buildKernel(
  cache: string,
  inputs: KernelInputs,
  archive: string,
  progress: Progress,
  signal?: AbortSignal,
): Promise<Kernel> {
  await atomicFolder(kernelFolder(cache, inputs), async (folder, scratch) => {
    const tree = await progress.step(`unpack ${inputs.source.name} ${inputs.source.version}`, () =>
      unpackSource(archive, scratch, signal),
    );
    const config = await progress.step('configure the kernel', () => configure(tree, inputs, signal));
    await writeFile(join(folder, 'kernel.config'), config);
    await progress.step('compile the kernel', (update) => {
      const jobs = `-j${availableParallelism()}`;
      return compile(tree, [jobs, 'vmlinux', 'bzImage'], buildEnvironment, update, signal);
    });
    const vmlinux = join(folder, 'vmlinux');
    await run('strip', ['--strip-all', '-o', vmlinux, join(tree, 'vmlinux')], {
      signal,
      debianPackage: 'binutils',
    });
    await copyFile(join(tree, 'arch/x86/boot/bzImage'), join(folder, 'vmlinuz'));
    const release = (await readFile(join(tree, 'include/config/kernel.release'), 'utf8')).trim();
    const files = Object.fromEntries(
      await Promise.all(fileNames.map(async (name) => [name, await sha256File(join(folder, name), signal)])),
    );
    const { name, version, sha256 } = inputs.source;
    const record = {
      format: 1,
      release,
      source: { name, version, sha256 },
      compiler: inputs.compiler,
      files,
    };
    await writeFile(join(folder, kernelRecordName), `${JSON.stringify(record, null, 2)}\n`);
  });
  const kernel = await findBuiltKernel(cache, inputs, signal);
  if (!kernel)
    throw new ImageError('input-missing', 'the kernel was removed from the cache while it was built');
  return kernel;
}

/** The package holds one tarball below usr/src. */
async function unpackSource(archive: string, scratch: string, signal?: AbortSignal): Promise<string> {
  const [unpacked, tree] = [join(scratch, 'package'), join(scratch, 'linux')];
  await mkdir(tree);
  await run('dpkg-deb', ['-x', archive, unpacked], { signal, debianPackage: 'dpkg' });
  const tarballs = (await run('find', [unpacked, '-name', 'linux-source-*.tar.xz'], { signal })).trim();
  if (!/^\S+$/.test(tarballs))
    throw new ImageError('input-missing', `${archive} holds no kernel source (no linux-source-….tar.xz)`);
  await run('tar', ['-xf', tarballs, '-C', tree, '--strip-components=1'], {
    signal,
    debianPackage: 'xz-utils',
  });
  return tree;
}

/** Everything off, then what the recipe asks for. Returns the whole .config. */
async function configure(tree: string, { options }: KernelInputs, signal?: AbortSignal): Promise<string> {
  const path = join(tree, '.config');
  const make = (target: string) => compile(tree, [target], buildEnvironment, () => {}, signal);
  await make('tinyconfig');
  await writeFile(path, (await readFile(path, 'utf8')) + configurationText(options));
  await make('olddefconfig');
  const config = await readFile(path, 'utf8');
  const mistakes = notTaken(options, config);
  if (mistakes.length > 0) throw new ImageError('recipe-invalid', mistakes.join('\n'));
  return config;
}
