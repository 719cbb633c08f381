import { readFileSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { listFiles } from '../digest.ts';
import { ImageError } from '../errors.ts';
import type { Recipe } from '../recipe/recipe.ts';
import { moduleInfo } from '../root/elf.ts';
import { type Kernel, reportedFilesystems } from './kernel.ts';
import { dependenciesOf, describeModule, type ModuleCatalog, moduleKey, orderModules } from './modules.ts';
import { extractVmlinux, hasPvhEntry } from './vmlinux.ts';

const vsockModule = 'vmw_vsock_virtio_transport';
const vsock = ['vsock'] as const;

/** Reads an unpacked Debian kernel image package. `scratch`: folder for the uncompressed kernel. */
export async function readPrebuiltKernel(
  unpacked: string,
  recipe: Recipe,
  scratch: string,
  signal?: AbortSignal,
): Promise<Kernel> {
  const releases = await readdir(join(unpacked, 'lib/modules')).catch(() => []);
  const [release] = releases;
  if (release === undefined || releases.length !== 1) {
    throw new ImageError(
      'input-missing',
      `the package ${recipe.kernel.package} holds no kernel with modules`,
    );
  }
  const modulesFolder = join(unpacked, 'lib/modules', release);
  const builtinList = await readFile(join(modulesFolder, 'modules.builtin'), 'utf8');
  const catalog: ModuleCatalog = {
    paths: new Map(
      (await listFiles(modulesFolder))
        .filter((path) => path.endsWith('.ko'))
        .map((path) => [moduleKey(path), path] as const),
    ),
    builtin: new Set(builtinList.split('\n').filter(Boolean).map(moduleKey)),
    read: (path) => describeModule(path, moduleInfo(readFileSync(join(modulesFolder, path)))),
  };
  const modules = orderModules(catalog, recipe.kernel.modules, recipe.kernel.optional_modules);
  const all = orderModules(catalog, [...recipe.kernel.modules, ...recipe.kernel.modules_on_request], []);
  const modulesOnRequest = all
    .filter(({ path }) => !modules.some((module) => module.path === path))
    .map((module) => ({ module, dependencies: dependenciesOf(catalog, moduleKey(module.path), modules) }));
  const present = new Set([...catalog.builtin, ...modules.map((module) => moduleKey(module.path))]);
  const vmlinuzPath = join(unpacked, 'boot', `vmlinuz-${release}`);
  const vmlinux = join(scratch, 'vmlinux');
  await extractVmlinux(vmlinuzPath, vmlinux, signal);
  return {
    origin: 'prebuilt',
    release,
    vmlinuxPath: hasPvhEntry(await readFile(vmlinux)) ? vmlinux : undefined,
    vmlinuzPath,
    configPath: join(unpacked, 'boot', `config-${release}`),
    modules,
    modulesOnRequest,
    modulesFolder,
    filesystems: reportedFilesystems.filter((name) => present.has(name)),
    transports: ['virtio-serial', ...(all.some(({ path }) => moduleKey(path) === vsockModule) ? vsock : [])],
  };
}
