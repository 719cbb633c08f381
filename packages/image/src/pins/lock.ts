import { readFile, rename, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { ImageError } from '../errors.ts';

const digest = z.string().regex(/^[0-9a-f]{64}$/, 'must be a SHA-256 in hex');

const debianPin = z.strictObject({
  version: z.string().min(1),
  architecture: z.string().min(1),
  sizeBytes: z.int().positive(),
  sha256: digest,
  /** Names of the packages it depends on, alternatives decided. */
  depends: z.array(z.string()),
});

const npmPin = z.strictObject({
  version: z.string().min(1),
  /** Of the file bin/node. */
  sha256: digest,
});

const lockSchema = z.strictObject({
  format: z.literal(1),
  debian: z.record(z.string(), debianPin),
  npm: z.record(z.string(), npmPin),
});

export type DebianPin = z.infer<typeof debianPin>;
export type NpmPin = z.infer<typeof npmPin>;
/** `images.lock.json`: version and digest of every input of the images beside it. */
export type Lock = z.infer<typeof lockSchema>;

/** @throws ImageError `lock-invalid`. A missing file is an empty lock: everything in it is then unpinned. */
export async function readLock(path: string): Promise<Lock> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code === 'ENOENT') return { format: 1, debian: {}, npm: {} };
    throw new ImageError('lock-invalid', `cannot read the lock file ${path}: ${cause}`, { cause });
  }
  try {
    return lockSchema.parse(JSON.parse(text));
  } catch (cause) {
    const why = cause instanceof z.ZodError ? z.prettifyError(cause) : String(cause);
    throw new ImageError('lock-invalid', `${path} is not a lock file of this version: ${why}`, { cause });
  }
}

/** Writes the lock with sorted names, so that a diff shows only what changed. */
export async function writeLock(path: string, lock: Lock): Promise<void> {
  const sorted = <T>(record: Record<string, T>) =>
    Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
  const text = JSON.stringify({ format: 1, debian: sorted(lock.debian), npm: sorted(lock.npm) }, null, 2);
  const temporary = `${path}.new-${process.pid}`;
  await writeFile(temporary, `${text}\n`);
  await rename(temporary, path);
}
