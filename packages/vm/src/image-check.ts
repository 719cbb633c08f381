/**
 * Whether an image's files are the ones of its manifest. Reading 140 MB takes 0.1 s, so the answer is kept for a file as
 * it is: device, inode, size and times. Whoever writes to a file changes its ctime (inode(7)), which no program can
 * set back.
 */
import { createHash } from 'node:crypto';
import { createReadStream, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { VmError } from './errors.ts';
import type { ImageFile, VmImage } from './image.ts';

/** @throws VmError `image-invalid` naming the file and both digests */
export async function checkImageFiles(
  image: Pick<VmImage, 'files'>,
  cacheDirectory: string,
  signal?: AbortSignal,
): Promise<void> {
  for (const file of image.files) {
    // A changed block ends the guest when it is read, with a reason on its console (boot.ts).
    if (file.checkedByGuest) continue;
    const digest = await digestOf(file, cacheDirectory, signal);
    if (digest === file.sha256) continue;
    throw new VmError(
      'image-invalid',
      `${file.path} has SHA-256 ${digest} and should have ${file.sha256}: it was changed, or is of another image`,
      { remedy: 'Build the guest image again with `make image`.' },
    );
  }
}

interface Known {
  readonly identity: string;
  readonly sha256: string;
}

function digestOf({ path }: ImageFile, cacheDirectory: string, signal?: AbortSignal): Promise<string> {
  return rememberedDigest(path, cacheDirectory, async () => {
    const hash = createHash('sha256');
    try {
      await pipeline(createReadStream(path, { highWaterMark: 1 << 20 }), hash, signal ? { signal } : {});
    } catch (error) {
      // The caller's own reason, as everywhere in a start.
      signal?.throwIfAborted();
      throw error;
    }
    return hash.digest('hex');
  });
}

/** What `compute` says of the file, or what it said before when the file is as it was then. */
export async function rememberedDigest(
  path: string,
  cacheDirectory: string,
  compute: () => string | Promise<string>,
): Promise<string> {
  const folder = join(cacheDirectory, 'digests');
  const record = join(folder, createHash('sha256').update(path).digest('hex').slice(0, 32));
  const before = identityOf(path);
  const known = readKnown(record);
  if (known?.identity === before) return known.sha256;
  const sha256 = await compute();
  if (identityOf(path) === before) remember(folder, record, { identity: before, sha256 });
  return sha256;
}

function identityOf(path: string): string {
  const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
  return [dev, ino, size, mtimeNs, ctimeNs].join('-');
}

function readKnown(record: string): Known | undefined {
  try {
    return JSON.parse(readFileSync(record, 'utf8')) as Known;
  } catch {
    return undefined; // not read before, or not readable: the file itself tells
  }
}

function remember(folder: string, record: string, known: Known): void {
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    writeFileSync(`${record}.${process.pid}`, JSON.stringify(known));
    renameSync(`${record}.${process.pid}`, record);
  } catch {
    // A cache that cannot be written costs the time to read the file again.
  }
}
