import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type CpioEntry, encodeCpio } from './cpio.ts';
import { initScript } from './init-script.ts';
import type { Kernel } from './kernel.ts';

/**
 * The initramfs: busybox, the modules and /init. It is not compressed: QEMU copies 4 MB into the guest faster
 * than an emulated CPU unpacks them.
 */
export async function makeInitrd(
  kernel: Kernel,
  busybox: string,
  nodeFlags: readonly string[],
): Promise<Buffer> {
  const modules = await Promise.all(
    kernel.modules.map(async (module) => ({
      kind: 'file' as const,
      path: `modules/${basename(module.path)}`,
      data: await readFile(join(kernel.modulesFolder, module.path)),
    })),
  );
  const init = initScript({ modules: modules.map((module) => module.path), nodeFlags });
  const entries: CpioEntry[] = [
    ...['dev', 'proc', 'sys', 'root'].map((path) => ({ kind: 'directory' as const, path })),
    { kind: 'file', path: 'bin/busybox', data: await readFile(busybox), mode: 0o755 },
    { kind: 'file', path: 'init', data: Buffer.from(init), mode: 0o755 },
    ...modules,
  ];
  return encodeCpio(entries);
}
