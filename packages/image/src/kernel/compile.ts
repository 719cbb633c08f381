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
  signal?.throwIfAborted();
  // The caller's environment may hold words that make or the compiler listen to. What they keep at home (the kernel asks
  // whether there is a Rust compiler, and rustup makes a folder for itself) goes when the tree goes.
  const env = { PATH: process.env.PATH, HOME: tree, LC_ALL: 'C', TZ: 'UTC', ...environment };
  // A process group of its own: all of it has to be gone before the tree can be removed.
  const child = spawn('make', [...args], {
    cwd: tree,
    env,
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const end = () => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL');
  signal?.addEventListener('abort', end);
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
  const code = await once(child, 'close')
    .then(([exitCode]) => exitCode as number | null)
    .catch((cause) => {
      throw new ImageError('tool-missing', `make cannot be run: ${cause.message}; install make`, { cause });
    })
    .finally(() => signal?.removeEventListener('abort', end));
  if (signal?.aborted) throw new ImageError('interrupted', 'interrupted while compiling the kernel');
  if (code === 0) return;
  throw new ImageError(
    'tool-failed',
    `make ${args.join(' ')} failed with ${code} in the kernel's source:\n  ${last.join('\n  ')}`,
  );
}
