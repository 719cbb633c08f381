import { ImageError } from '../errors.ts';
import type { Manifest } from '../manifest.ts';
import { run } from '../run.ts';

type Verity = NonNullable<Extract<Manifest['root'], { diskSerial: string }>['verity']>;

const blockBytes = 4096;

/**
 * Checks a root and the hash tree behind it against the root hash, as the guest's kernel will.
 * @returns why it fails, undefined when it does not.
 */
export async function checkVerity(
  path: string,
  verity: Verity,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const args = [
    ...['verify', path, path, verity.rootHash],
    '--no-superblock',
    `--hash=${verity.algorithm}`,
    // "-" is veritysetup's word for none.
    `--salt=${verity.salt || '-'}`,
    `--data-blocks=${verity.dataBlocks}`,
    `--hash-offset=${verity.hashStartBlock * blockBytes}`,
    `--data-block-size=${blockBytes}`,
    `--hash-block-size=${blockBytes}`,
  ];
  try {
    await run('veritysetup', args, { signal, debianPackage: 'cryptsetup-bin' });
    return undefined;
  } catch (error) {
    if (!(error instanceof ImageError) || error.code !== 'tool-failed') throw error;
    const position = /failed at position (\d+)/.exec(error.message)?.[1];
    if (position === undefined) {
      return `${path} and its hash tree do not give the root hash ${verity.rootHash}: ${error.message}`;
    }
    const block = Number(position) / blockBytes;
    const where = block < verity.dataBlocks ? 'block' : 'block of the hash tree';
    return `${path}: ${where} ${block} (byte ${position}) was changed: it does not fit the root hash ${verity.rootHash}`;
  }
}
