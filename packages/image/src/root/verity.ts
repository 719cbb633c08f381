/**
 * dm-verity: a tree of hashes behind the root filesystem, in the same file, whose topmost hash is on the kernel's
 * command line (Documentation/admin-guide/device-mapper/verity.rst and dm-init.rst). Each block is checked when the
 * guest reads it; one that was changed ends the machine.
 */
import { stat, truncate } from 'node:fs/promises';
import { ImageError } from '../errors.ts';
import { run } from '../run.ts';

export interface Verity {
  algorithm: 'sha256';
  rootHash: string;
  /** Hex. */
  salt: string;
  /** Of 4096 bytes. */
  dataBlocks: number;
  /** Block in which the hash tree begins. */
  hashStartBlock: number;
}

const blockBytes = 4096;
const sectorBytes = 512;
/** No secret: it would make precomputed trees of other images useless, which are no danger here. It must not vary. */
const salt = '00'.repeat(32);

/** Appends the tree to a file system image. */
export async function addVerity(path: string, signal?: AbortSignal): Promise<Verity> {
  const dataBlocks = Math.ceil((await stat(path)).size / blockBytes);
  await truncate(path, dataBlocks * blockBytes);
  const text = await run(
    'veritysetup',
    [
      'format',
      '--no-superblock',
      '--hash=sha256',
      `--salt=${salt}`,
      `--data-block-size=${blockBytes}`,
      `--hash-block-size=${blockBytes}`,
      `--data-blocks=${dataBlocks}`,
      `--hash-offset=${dataBlocks * blockBytes}`,
      path,
      path,
    ],
    { signal, debianPackage: 'cryptsetup-bin' },
  );
  const rootHash = /^Root hash:\s+([0-9a-f]{64})$/m.exec(text)?.[1];
  if (!rootHash) throw new ImageError('tool-failed', `veritysetup format named no root hash:\n${text}`);
  return { algorithm: 'sha256', rootHash, salt, dataBlocks, hashStartBlock: dataBlocks };
}

/** The kernel's word that puts the checked device /dev/dm-0 on top of `disk`, before the root is mounted. */
export function verityArgument(verity: Verity, disk: string): string {
  const { algorithm, rootHash, dataBlocks, hashStartBlock } = verity;
  const table = [
    `0 ${(dataBlocks * blockBytes) / sectorBytes} verity 1 ${disk} ${disk} ${blockBytes} ${blockBytes}`,
    `${dataBlocks} ${hashStartBlock} ${algorithm} ${rootHash} ${verity.salt} 1 panic_on_corruption`,
  ].join(' ');
  return `dm-mod.create="coracle-root,,,ro,${table}"`;
}
