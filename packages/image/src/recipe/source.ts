/** Files of the host that a recipe names: only plain files inside its own folder. */
import { readFileSync, realpathSync, type Stats, statSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { isElf } from '../root/elf.ts';
import { isInside } from '../root/paths.ts';

/** A sentence about the value, for behind its key. */
export class SourceMistake extends Error {}

/**
 * The real path of a file that a recipe names.
 * @throws SourceMistake when it is missing, no plain file, or outside the recipe's folder, if only by a link
 */
export function sourcePath(folder: string, source: string): string {
  if (source.startsWith('/') || isInside(relative(folder, join(folder, source)), '..'))
    throw new SourceMistake(`${source} is outside the recipe's folder`);
  let real: string;
  try {
    real = realpathSync(resolve(folder, source));
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const why = code === 'ENOENT' ? 'there is no such file' : message;
    throw new SourceMistake(`${source} cannot be read: ${why}`, { cause });
  }
  if (isInside(relative(realpathSync(folder), real), '..'))
    throw new SourceMistake(`${source} leads out of the recipe's folder, to ${real}`);
  const kind = kindOf(statSync(real));
  if (kind !== 'file') throw new SourceMistake(`${source} is a ${kind}, not a plain file`);
  return real;
}

export function kindOf(stats: Stats): string {
  if (stats.isFile()) return 'file';
  if (stats.isDirectory()) return 'folder';
  if (stats.isSymbolicLink()) return 'link';
  if (stats.isFIFO()) return 'FIFO';
  return stats.isSocket() ? 'socket' : 'device node';
}

/** @throws SourceMistake for what the guest's kernel could not start */
export function checkProgram(content: Buffer): void {
  if (isElf(content) || content.toString('latin1', 0, 2) === '#!') return;
  throw new SourceMistake('is no program: it must begin with #!, such as #!/bin/sh');
}

export function readSource(path: string): Buffer {
  return readFileSync(path);
}
