import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { type CpioEntry, encodeCpio } from './cpio.ts';
import { initScript } from './init-script.ts';
import type { Kernel } from './kernel.ts';
import { withoutSignature } from './module-signature.ts';

/**
 * The initramfs: busybox, the modules and /init. It is not compressed: QEMU copies 4 MB into the guest faster
 * than an emulated CPU unpacks them.
 */
export async function makeInitrd(
  kernel: Kernel,
  busybox: string,
  nodeFlags: readonly string[],
): Promise<Buffer> {
  const folder = `lib/modules/${kernel.release}`;
  const modules = await Promise.all(
    kernel.modules.map(async ({ path }) => {
      const data = withoutSignature(await readFile(join(kernel.modulesFolder, path)));
      return { kind: 'file' as const, path: `${folder}/${basename(path)}`, data };
    }),
  );
  const files = kernel.modules.map(({ path }) => basename(path));
  const dependencies = Buffer.from(files.map((file) => `${file}:\n`).join(''));
  const init = initScript({ modules: files.map((file) => basename(file, '.ko')), nodeFlags });
  const entries: CpioEntry[] = [
    ...['dev', 'proc', 'sys', 'root'].map((path) => ({ kind: 'directory' as const, path })),
    { kind: 'file', path: 'bin/busybox', data: await readFile(busybox), mode: 0o755 },
    { kind: 'file', path: 'init', data: Buffer.from(init), mode: 0o755 },
    { kind: 'file', path: `${folder}/modules.dep`, data: dependencies },
    ...modules,
  ];
  return encodeCpio(entries);
}
