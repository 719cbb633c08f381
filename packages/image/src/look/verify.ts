/** Looks at everything that an image says of itself. */
import { readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { contentsFileName, readContents } from '../contents.ts';
import { describeImagePaths, readManifest } from '../load.ts';
import { type Manifest, manifestFileName } from '../manifest.ts';
import { type Progress, silentProgress } from '../progress.ts';
import { checkFile, checkListed, type Problem } from './check-file.ts';
import { checkVerity } from './check-verity.ts';
import { compareRoot } from './compare-root.ts';
import { withExtractedRoot } from './extract.ts';

export interface Verification {
  readonly folder: string;
  readonly manifest: Manifest;
  /** Empty: the image is as it was built. */
  readonly problems: readonly Problem[];
  /** What could not be looked at, because of the problems. */
  readonly skipped: readonly string[];
  /** Paths of the root that were compared. */
  readonly comparedPaths: number;
}

export interface VerifyOptions {
  progress?: Progress;
  signal?: AbortSignal | undefined;
}

/**
 * Sizes and digests of all files; the unpacked root against contents.json; the hash tree where there is one; files
 * that are no part of the image.
 * @throws ImageError `image-invalid` for a folder without a manifest that can be read.
 */
export async function verifyImage(folder: string, options: VerifyOptions = {}): Promise<Verification> {
  const { signal, progress = silentProgress } = options;
  const absolute = resolve(folder);
  const manifest = await readManifest(absolute);
  const problems = [...checkListed(manifest), ...(await findForeignFiles(absolute, manifest))];
  const skipped: string[] = [];
  await progress.step('compare files with their digests', async () => {
    for (const [name, wanted] of Object.entries(manifest.files)) {
      const problem = await checkFile(absolute, name, wanted, { checkDigest: true, signal });
      if (problem) problems.push(problem);
    }
  });
  const isSound = (name: string) => !problems.some(({ file }) => file === name);
  const { root } = manifest;
  if (root.filesystem !== 'initramfs' && root.verity !== null) {
    const { verity, file } = root;
    const why = await progress.step('check the hash tree', () =>
      checkVerity(join(absolute, file), verity, signal),
    );
    if (why !== undefined) problems.push({ file, message: why });
  }
  let comparedPaths = 0;
  if (!manifest.files[contentsFileName]) {
    problems.push({ file: contentsFileName, message: `the image ${absolute} has no ${contentsFileName}` });
  }
  // The tools that unpack are not made for file systems that somebody prepared.
  if (isSound(root.file) && isSound(contentsFileName)) {
    const contents = await readContents(absolute);
    comparedPaths = contents.entries.length;
    const found = await progress.step('unpack the root and compare it with contents.json', () =>
      withExtractedRoot(
        describeImagePaths(absolute, manifest),
        (unpacked) => compareRoot(unpacked, contents, root.file, signal),
        signal,
      ),
    );
    problems.push(...found);
  } else {
    skipped.push(
      `the root was not unpacked, since ${root.file} or ${contentsFileName} is not as it should be`,
    );
  }
  signal?.throwIfAborted();
  return { folder: absolute, manifest, problems, skipped, comparedPaths };
}

async function findForeignFiles(folder: string, manifest: Manifest): Promise<Problem[]> {
  const own = new Set<string>([manifestFileName, ...Object.keys(manifest.files)]);
  return (await readdir(folder))
    .filter((name) => !own.has(name))
    .sort()
    .map((name) => ({ file: name, message: `${join(folder, name)} is no part of the image` }));
}
