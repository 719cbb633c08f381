/**
 * Makes an ext4 image of a folder: for reading only, without a journal, as small as it can be.
 *
 * `mke2fs -d` of Debian 12 copies owners, change times and the order of folders from the builder's file system, so
 * it cannot make the same bits twice. Here mke2fs(8) makes an empty file system and debugfs(8) fills it in sorted
 * order: what that writes is owned by root, and dated one second past 1970 (`E2FSPROGS_FAKE_TIME` in run.ts).
 */
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { ImageError } from '../errors.ts';
import { run } from '../run.ts';
import { debugfs, quote } from './debugfs.ts';
import { readTree, type TreePath } from './tree.ts';

const fixedUuid = 'c0ac1e00-0000-4000-8000-000000000002';
const fixedHashSeed = 'c0ac1e00-0000-4000-8000-000000000003';
const blockBytes = 4096;
/** All of them, so that the host's mke2fs.conf has no say. Checksums are verity's business. */
const features = 'none,extent,filetype,sparse_super,large_file,flex_bg,dir_nlink,extra_isize';
/** Inodes that ext4 keeps for itself, the root among them, and one for lost+found while it is there. */
const reservedInodes = 11;

export async function makeExt4(folder: string, output: string, signal?: AbortSignal): Promise<void> {
  const entries = await readTree(folder);
  const make = async (blocks: number) => {
    await rm(output, { force: true });
    await makeEmpty(output, blocks, entries.length + reservedInodes, signal);
    await fill(resolve(folder), output, entries, signal);
  };
  try {
    const ample = ampleBlocks(entries);
    await make(ample);
    let blocks = ample - (await freeBlocks(output, signal));
    // mke2fs leaves out a last block group that is too small to be of use, so it may take a few more.
    while (!(await fits(() => make(blocks)))) blocks += 16;
  } catch (error) {
    await rm(output, { force: true });
    throw error;
  }
}

/** More than it can take: file contents, a block for each folder and link, and 5 % for ext4's own tables. */
function ampleBlocks(entries: readonly TreePath[]): number {
  const content = entries.reduce(
    (sum, entry) => sum + (entry.type === 'file' ? Math.ceil(entry.sizeBytes / blockBytes) : 1),
    0,
  );
  return Math.ceil((content + entries.length / 8) * 1.05) + 256;
}

async function makeEmpty(
  output: string,
  blocks: number,
  inodes: number,
  signal?: AbortSignal,
): Promise<void> {
  const extended = `hash_seed=${fixedHashSeed},root_owner=0:0,lazy_itable_init=0,nodiscard`;
  // "ext2" chooses nothing but a section of mke2fs.conf.
  const shape = ['-t', 'ext2', '-b', `${blockBytes}`, '-I', '256', '-N', `${inodes}`, '-m', '0'];
  const fixed = ['-U', fixedUuid, '-E', extended, '-O', features];
  const args = ['-q', '-F', ...shape, ...fixed, output, `${blocks}`];
  await run('mke2fs', args, { signal, debianPackage: 'e2fsprogs' });
}

async function fill(
  folder: string,
  output: string,
  entries: readonly TreePath[],
  signal?: AbortSignal,
): Promise<void> {
  const commands = entries.flatMap((entry) => {
    const path = quote(`/${entry.path}`);
    if (entry.type === 'symlink') return [`symlink ${path} ${quote(entry.target)}`];
    // Files get the mode that they have on the host, folders always 0755.
    if (entry.type === 'file') return [`write ${quote(join(folder, entry.path))} ${path}`];
    const mode = `04${entry.mode.toString(8).padStart(4, '0')}`;
    return entry.mode === 0o755 ? [`mkdir ${path}`] : [`mkdir ${path}`, `sif ${path} mode ${mode}`];
  });
  await debugfs({
    image: output,
    // The kernel refuses to mount a file system with the feature read-only for writing.
    commands: ['rmdir /lost+found', ...commands, 'feature read-only'],
    script: `${output}.debugfs`,
    writable: true,
    signal,
  });
}

async function freeBlocks(image: string, signal?: AbortSignal): Promise<number> {
  const text = await run('dumpe2fs', ['-h', image], { signal, debianPackage: 'e2fsprogs' });
  const free = /^Free blocks:\s+(\d+)$/m.exec(text)?.[1];
  if (free === undefined) throw new ImageError('tool-failed', `dumpe2fs -h ${image} names no free blocks`);
  return Number(free);
}

async function fits(make: () => Promise<void>): Promise<boolean> {
  try {
    await make();
    return true;
  } catch (error) {
    if (error instanceof ImageError && /Could not allocate block/.test(error.message)) return false;
    throw error;
  }
}
