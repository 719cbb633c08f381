import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { ImageError } from '../errors.ts';
import type { Update } from '../progress.ts';

/** Of make's output, for the message when it fails. */
const keptLines = 12;

/**
 * Runs the kernel's make and counts what it says it makes.
 * @throws ImageError `tool-failed` with make's last lines, `interrupted`
 */
export async function compile(
  tree: string,
  args: readonly string[],
  environment: Readonly<Record<string, string>>,
  update: Update,
  signal?: AbortSignal,
): Promise<void> {
  // The caller's environment may hold words that make or the compiler listen to.
  const env = { PATH: process.env.PATH, HOME: '/nonexistent', LC_ALL: 'C', TZ: 'UTC', ...environment };
  const child = spawn('make', [...args], { cwd: tree, env, stdio: ['ignore', 'pipe', 'pipe'], signal });
  const last: string[] = [];
  let made = 0;
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (/^ {2}[A-Z]{2,} /.test(line)) {
        made++;
        update(`${made} files`);
      } else last.push(line);
      last.splice(0, last.length - keptLines);
    });
  }
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    if (code === 0) return;
    throw new ImageError(
      'tool-failed',
      `make ${args.join(' ')} failed with ${code} in the kernel's source:\n  ${last.join('\n  ')}`,
    );
  } catch (cause) {
    if (cause instanceof ImageError) throw cause;
    if (signal?.aborted)
      throw new ImageError('interrupted', 'interrupted while compiling the kernel', { cause });
    throw new ImageError('tool-missing', `make cannot be run: ${(cause as Error).message}; install make`, {
      cause,
    });
  }
}
