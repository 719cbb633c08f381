import { closeSync, openSync, writeFileSync } from 'node:fs';
import { TapError } from '../errors.ts';

/**
 * A file that must not exist yet, mode 0600: what was on somebody's screen is for the owner's eyes.
 * @throws TapError output
 */
export function writeNewFile(path: string, text: string): void {
  const descriptor = open(path);
  try {
    writeFileSync(descriptor, text);
  } finally {
    closeSync(descriptor);
  }
}

function open(path: string): number {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (cause) {
    throw new TapError('output', `cannot create ${path}: ${(cause as Error).message}`, { cause });
  }
}
