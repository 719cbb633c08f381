/** Unpacks the root of an image into a folder of the host, without root and without mounting anything. */
import { chmod, mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../errors.ts';
import type { Image } from '../load.ts';
import { decodeCpio } from '../root/cpio-decode.ts';
import { debugfs, quote } from '../root/debugfs.ts';
import { readTree } from '../root/tree.ts';
import { run } from '../run.ts';
import { withTemporaryFolder } from '../temporary.ts';

export interface ExtractedRoot {
  readonly folder: string;
  /** Paths that do not belong to root, with `uid:gid`. What unpacks EROFS does not tell. */
  readonly foreign: ReadonlyMap<string, string>;
}

type Extract = (file: string, target: string, scratch: string, signal?: AbortSignal) => Promise<Foreign>;
type Foreign = Map<string, string>;

const extractors: Record<Image['manifest']['root']['filesystem'], Extract> = {
  erofs: extractErofs,
  ext4: extractExt4,
  initramfs: extractInitramfs,
};

/**
 * Unpacks the root for as long as `use` takes. The file should have been compared with its digest: the tools are not
 * made for file systems that somebody prepared.
 */
export async function withExtractedRoot<T>(
  image: Image,
  use: (root: ExtractedRoot) => Promise<T>,
  signal?: AbortSignal,
): Promise<T> {
  const { file, filesystem } = image.manifest.root;
  return withTemporaryFolder(async (scratch) => {
    const folder = join(scratch, 'root');
    await mkdir(folder);
    const path = join(image.folder, file);
    try {
      return await use({ folder, foreign: await extractors[filesystem](path, folder, scratch, signal) });
    } catch (cause) {
      if (!(cause instanceof ImageError) || cause.code !== 'tool-failed') throw cause;
      throw new ImageError('image-invalid', `${path} cannot be unpacked: ${cause.message}`, { cause });
    }
  });
}

/** Told to restore owners, fsck.erofs changes them after the modes, by which files lose their set-user-id bits. */
async function extractErofs(file: string, target: string, _scratch: string, signal?: AbortSignal) {
  const options = { signal, debianPackage: 'erofs-utils' };
  const args = [`--extract=${target}`, '--overwrite', '--preserve-perms', '--no-preserve-owner', file];
  await run('fsck.erofs', args, options);
  return new Map<string, string>();
}

/** debugfs drops set-user-id and sticky bits while it unpacks, so modes are asked for, and owners with them. */
async function extractExt4(file: string, target: string, scratch: string, signal?: AbortSignal) {
  const common = { image: file, script: join(scratch, 'script'), signal };
  // Plain users cannot give files away.
  const ignore = /Operation not permitted while changing ownership/;
  await debugfs({ ...common, commands: ['rdump / .'], cwd: target, ignore });
  const folders = (await readTree(target)).flatMap(({ type, path }) => (type === 'directory' ? [path] : []));
  const commands = ['', ...folders].map((folder) => `ls -p ${quote(`/${folder}`)}`);
  const foreign: Foreign = new Map();
  const modes = new Map<string, number>();
  let parent = '';
  for (const line of (await debugfs({ ...common, commands })).split('\n')) {
    const command = /^debugfs: ls -p "\/(.*)"$/.exec(line);
    if (command) parent = (command[1] ?? '').replaceAll('""', '"');
    const listed = /^\/\d+\/(\d{6})\/(\d+)\/(\d+)\/(.+)\/\d*\/$/.exec(line);
    if (!listed) continue;
    const [, mode = '', uid, gid, name = ''] = listed;
    if (name === '.' || name === '..') continue;
    const path = parent === '' ? name : `${parent}/${name}`;
    noteOwner(foreign, path, `${uid}:${gid}`);
    if (!mode.startsWith('12')) modes.set(path, Number.parseInt(mode.slice(-4), 8));
  }
  await setModes(target, modes);
  return foreign;
}

async function extractInitramfs(file: string, target: string) {
  const foreign: Foreign = new Map();
  const modes = new Map<string, number>();
  for (const { path, type, mode, owner, data } of decodeCpio(await readFile(file), file)) {
    const host = join(target, path);
    noteOwner(foreign, path, owner);
    if (type === 'symlink') {
      await symlink(data.toString(), host);
      continue;
    }
    if (type === 'directory') await mkdir(host);
    else await writeFile(host, data);
    modes.set(path, mode);
  }
  await setModes(target, modes);
  return foreign;
}

/** What lies in a folder comes before it, whose own mode may shut plain users out. */
async function setModes(target: string, modes: ReadonlyMap<string, number>): Promise<void> {
  for (const [path, mode] of [...modes].reverse()) await chmod(join(target, path), mode);
}

function noteOwner(foreign: Foreign, path: string, owner: string): void {
  if (owner !== '0:0') foreign.set(path, owner);
}
