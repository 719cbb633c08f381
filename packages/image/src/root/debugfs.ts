/** debugfs(8), which writes and reads ext4 without root and without mounting, as a function. */
import { rm, writeFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ImageError } from '../errors.ts';
import { runBoth } from '../run.ts';

export interface DebugfsOptions {
  image: string;
  /** One per line of its script. */
  commands: readonly string[];
  /** File to write the script to; it is removed. */
  script: string;
  writable?: boolean;
  /** Lines of stderr that are no failure. */
  ignore?: RegExp;
  cwd?: string;
  signal?: AbortSignal | undefined;
}

/** @throws ImageError `tool-failed` when it says anything on stderr: its exit code is 0 whatever happens. */
export async function debugfs(options: DebugfsOptions): Promise<string> {
  const { image, commands, script, writable = false, ignore, cwd, signal } = options;
  await writeFile(script, commands.map((command) => `${command}\n`).join(''));
  try {
    const args = [...(writable ? ['-w'] : []), '-f', resolve(script), resolve(image)];
    const { stdout, stderr } = await runBoth('debugfs', args, {
      ...(cwd ? { cwd } : {}),
      signal,
      debianPackage: 'e2fsprogs',
    });
    const said = stderr
      .split('\n')
      .filter((line) => line !== '' && !/^debugfs \d/.test(line) && !ignore?.test(line));
    if (said.length === 0) return stdout;
    throw new ImageError('tool-failed', `debugfs failed on ${image}:\n  ${said.slice(0, 6).join('\n  ')}`);
  } finally {
    await rm(script, { force: true });
  }
}

/** A word of its scripts. */
export function quote(word: string): string {
  if (/[\n\r]/.test(word)) {
    throw new ImageError(
      'output-refused',
      `${JSON.stringify(word)} cannot be in an ext4 image: it holds a line break`,
    );
  }
  return `"${word.replaceAll('"', '""')}"`;
}
