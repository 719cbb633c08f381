/** Compares a file of an image with what the manifest says of it. */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { sha256File } from '../digest.ts';
import type { Manifest } from '../manifest.ts';

/** Something that is not as it should be; the message names the file and, where they differ, both digests. */
export interface Problem {
  /** In the image's folder; with `!/PATH` for a path inside its root. */
  readonly file: string;
  readonly message: string;
}

export interface CheckOptions {
  /** Also reads the file. A size that differs is a problem without that. */
  checkDigest: boolean;
  signal?: AbortSignal | undefined;
}

export async function checkFile(
  folder: string,
  name: string,
  wanted: NonNullable<Manifest['files'][keyof Manifest['files']]>,
  { checkDigest, signal }: CheckOptions,
): Promise<Problem | undefined> {
  const path = join(folder, name);
  const found = await stat(path).catch((error: NodeJS.ErrnoException) => error);
  if (found instanceof Error)
    return { file: name, message: `the image ${folder} has no ${name}: ${found.message}` };
  if (!found.isFile()) return { file: name, message: `${path} is not a plain file` };
  const cut = found.size !== wanted.sizeBytes;
  if (!cut && !checkDigest) return undefined;
  const digest = await sha256File(path, signal);
  if (!cut && digest === wanted.sha256) return undefined;
  const [is, should] = cut ? [`${found.size} bytes, `, `${wanted.sizeBytes} bytes, `] : ['', ''];
  return {
    file: name,
    message: `${path} has ${is}SHA-256 ${digest} and should have ${should}SHA-256 ${wanted.sha256}: it was ${cut ? 'cut or ' : ''}changed; build the image again`,
  };
}

/** Files that the machine boots from must be among those whose digests the manifest has. */
export function checkListed(manifest: Manifest): Problem[] {
  const needed = [manifest.kernel.file, manifest.initrd, manifest.root.file].filter((name) => name !== null);
  return needed.flatMap((name) =>
    manifest.files[name]
      ? []
      : [{ file: name, message: `the manifest boots ${name} and has no size and SHA-256 of it` }],
  );
}
