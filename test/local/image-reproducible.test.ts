/**
 * The whole base image, with the real agent and its Node snapshot, built by two users: in other folders, at another
 * time, under another umask, with another home and another cache. Every file has the same digest.
 */
import { execFile } from 'node:child_process';
import { chmod, chown, constants, copyFile, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readContents } from '../../packages/image/src/contents.ts';
import { sha256File } from '../../packages/image/src/digest.ts';
import { cacheFolder, diffImages, readImageFile } from '../../packages/image/src/index.ts';
import { readLock } from '../../packages/image/src/pins/lock.ts';

const checkout = resolve(import.meta.dirname, '../..');
const program = 'packages/image/src/main.ts';
const nobody = 65534;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coracle-reproducible-'));
  await chmod(folder, 0o755);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** @param at where the checkout is */
function buildCommand(output: string, at = checkout): [file: string, args: string[]] {
  const recipe = join(at, 'images/base');
  const fixed = ['--agent', join(at, 'dist/agent'), '--kernel', 'prebuilt', '--no-cache'];
  const args = [join(at, program), 'build', recipe, '--output', output, ...fixed];
  return [process.execPath.replace(checkout, at), args];
}

/** Of the packages in our own cache: the other user's apt is not asked. */
async function copyPackages(cache: string): Promise<void> {
  await mkdir(join(cache, 'packages'), { recursive: true });
  const { debian } = await readLock(join(checkout, 'images/images.lock.json'));
  for (const [name, { sha256 }] of Object.entries(debian)) {
    if (name.startsWith('linux-source')) continue;
    const file = join('packages', `${sha256}.deb`);
    await copyFile(join(cacheFolder(), file), join(cache, file), constants.COPYFILE_FICLONE).catch(() => {});
  }
}

async function digests(image: string): Promise<Record<string, string>> {
  const files = (await readdir(image)).sort();
  return Object.fromEntries(
    await Promise.all(files.map(async (name) => [name, await sha256File(join(image, name))])),
  );
}

test.runIf(process.getuid?.() === 0)('another user builds the same image', { timeout: 300_000 }, async () => {
  const mine = join(folder, 'mine');
  await promisify(execFile)(...buildCommand(mine));

  const home = join(folder, 'home-of-nobody');
  const cache = join(home, 'cache');
  await copyPackages(cache);
  for (const path of [home, cache]) await chown(path, nobody, nobody);
  const theirs = join(home, 'a folder of/another depth/theirs');
  // The checkout may be where only root comes: the other user sees it here, and nobody else does.
  const visible = join(folder, 'checkout');
  await mkdir(visible);
  const bind = ['--mount', 'sh', '-c', 'mount --bind "$1" "$2"; shift 2; exec "$@"', 'sh', checkout, visible];
  const user = ['setpriv', `--reuid=${nobody}`, `--regid=${nobody}`, '--clear-groups'];
  const [node, build] = buildCommand(theirs, visible);
  const shell = ['sh', '-c', 'umask 077; exec "$@"', 'sh', node];
  await promisify(execFile)('unshare', [...bind, ...user, ...shell, ...build], {
    cwd: '/',
    env: { PATH: '/usr/bin:/bin', HOME: home, CORACLE_CACHE: cache, LANG: 'tr_TR.UTF-8', TZ: 'Asia/Tokyo' },
  });
  const made = await digests(mine);
  expect(Object.keys(made)).toEqual(
    expect.arrayContaining(['initrd.img', 'manifest.json', 'rootfs.erofs', 'sbom.cdx.json', 'vmlinux']),
  );
  const { entries } = await readContents(mine);
  expect(entries.map(({ path }) => path)).toContain('opt/coracle/agent.blob');
  // Where malloc's heap begins without address randomisation. Its addresses are the same only in most builds.
  const blob = await readImageFile(mine, 'opt/coracle/agent.blob');
  expect(blob.indexOf(Buffer.from('5555550000', 'hex'))).toBe(-1);
  // Names the paths, where there are any.
  expect((await diffImages(mine, theirs)).paths).toEqual([]);
  expect(await digests(theirs)).toEqual(made);
});
