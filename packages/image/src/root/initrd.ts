import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Kernel } from '../kernel/kernel.ts';
import { withoutSignature } from '../kernel/module-signature.ts';
import type { KernelModule } from '../kernel/modules.ts';
import { type CpioEntry, encodeCpio } from './cpio.ts';
import { initScript } from './init-script.ts';

/**
 * The initramfs: busybox, the modules and /init. It is not compressed: QEMU copies 4 MB into the guest faster
 * than an emulated CPU unpacks them.
 */
export async function makeInitrd(
  kernel: Kernel,
  busybox: string,
  filesystem: 'erofs' | 'ext4',
): Promise<Buffer> {
  const onRequest = kernel.modulesOnRequest.map(({ module }) => module);
  const folder = `lib/modules/${kernel.release}`;
  const modules = await Promise.all(
    [...kernel.modules, ...onRequest].map(async ({ path }) => {
      const data = withoutSignature(await readFile(join(kernel.modulesFolder, path)));
      return { kind: 'file' as const, path: `${folder}/${basename(path)}`, data };
    }),
  );
  const files = kernel.modules.map(({ path }) => basename(path));
  const lines = [
    ...files.map((file) => `${file}:\n`),
    ...kernel.modulesOnRequest.map(({ module, dependencies }) => dependencyLine(module, dependencies)),
  ];
  const init = initScript(
    files.map((file) => basename(file, '.ko')),
    filesystem,
  );
  const entries: CpioEntry[] = [
    ...['dev', 'proc', 'sys', 'root'].map((path) => ({ kind: 'directory' as const, path })),
    { kind: 'file', path: 'bin/busybox', data: await readFile(busybox), mode: 0o755 },
    { kind: 'file', path: 'init', data: Buffer.from(init), mode: 0o755 },
    { kind: 'file', path: `${folder}/modules.dep`, data: Buffer.from(lines.join('')) },
    ...modules,
  ];
  return encodeCpio(entries);
}

/** modules.dep(5), with the files all in one folder. */
function dependencyLine(module: KernelModule, dependencies: readonly KernelModule[]): string {
  const needed = dependencies.map(({ path }) => ` ${basename(path)}`).join('');
  return `${basename(module.path)}:${needed}\n`;
}
