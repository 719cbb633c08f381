/**
 * Node's start-up snapshot of the agent: its heap after all modules are loaded. Starting from it saves reading,
 * compiling and linking 250 KB of JavaScript and Node's own modules: 0.5 s under emulation.
 *
 * `node --build-snapshot` (doc/api/cli.md) is not reproducible by itself. What makes two builds the same:
 *
 * - `--hash-seed` and `--random-seed`: the order of hash tables. V8 draws another hash seed when a snapshot is started
 *   (`--rehash-snapshot`); Math.random begins the same everywhere, and the agent does not use it.
 * - one thread and no address randomisation (setarch -R), an empty environment: some addresses get into the heap.
 * - `/proc/self/cwd/…` as the script's path: the path is in the heap.
 * - the image's own Node with the image's own libraries.
 */
import { copyFile, mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { nodePath } from './boot-protocol.ts';
import { ImageError } from './errors.ts';
import { run } from './run.ts';

const script = 'snapshot.cjs';
const output = 'agent.blob';

/**
 * @param root the root filesystem, with Node and its libraries in it
 * @returns the path of the snapshot, below `scratch`
 */
export async function makeSnapshot(
  root: string,
  source: string,
  scratch: string,
  signal?: AbortSignal,
): Promise<string> {
  const folder = join(scratch, 'snapshot');
  await mkdir(folder, { recursive: true });
  await copyFile(source, join(folder, script));
  const loader = [
    join(root, 'usr/lib64/ld-linux-x86-64.so.2'),
    '--library-path',
    join(root, 'usr/lib/x86_64-linux-gnu'),
  ];
  const deterministic = ['--v8-pool-size=0', '--single-threaded', '--hash-seed=1', '--random-seed=1'];
  const node = [join(root, nodePath), ...deterministic, '--no-warnings'];
  const task = ['--snapshot-blob', output, '--build-snapshot', `/proc/self/cwd/${script}`];
  try {
    await run('setarch', ['-R', 'env', '-i', ...loader, ...node, ...task], {
      signal,
      cwd: folder,
      debianPackage: 'util-linux',
    });
  } catch (cause) {
    if (!(cause instanceof ImageError) || cause.code !== 'tool-failed') throw cause;
    throw new ImageError('tool-failed', `cannot make a snapshot of the agent: ${cause.message}`, { cause });
  }
  return join(folder, output);
}
