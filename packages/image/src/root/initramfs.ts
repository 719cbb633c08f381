import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../errors.ts';
import { type CpioEntry, encodeCpio } from './cpio.ts';
import { resolveInRoot } from './resolve.ts';
import { readTree } from './tree.ts';

/**
 * Packs a whole root into one initramfs. Not compressed: QEMU copies it into the guest faster than an emulated CPU
 * unpacks it, and the guest holds it in memory twice while it does.
 * @throws ImageError `input-missing` when the root has no `/init`, which is what the kernel starts.
 */
export async function makeInitramfs(folder: string, output: string, signal?: AbortSignal): Promise<void> {
  const tree = await readTree(folder);
  const init = await resolveInRoot(folder, '/init');
  if (!tree.some(({ path, type, mode }) => path === init && type === 'file' && mode & 0o100)) {
    throw new ImageError(
      'input-missing',
      `the root ${folder} has no program /init, which the kernel starts in an initramfs`,
    );
  }
  const entries: CpioEntry[] = [];
  for (const entry of tree) {
    signal?.throwIfAborted();
    if (entry.type === 'symlink') entries.push({ kind: 'symlink', path: entry.path, target: entry.target });
    else if (entry.type === 'directory') entries.push({ ...entry, kind: 'directory' });
    else entries.push({ ...entry, kind: 'file', data: await readFile(join(folder, entry.path)) });
  }
  await writeFile(output, encodeCpio(entries), signal ? { signal } : {});
}
