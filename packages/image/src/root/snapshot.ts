/**
 * Node's start-up snapshot of the agent: its heap after all modules are loaded. Starting from it saves reading,
 * compiling and linking 250 KB of JavaScript and Node's own modules: 0.5 s under emulation.
 *
 * `node --build-snapshot` (doc/api/cli.md) is not reproducible by itself. What makes two builds the same:
 *
 * - `--hash-seed` and `--random-seed`: the order of hash tables. V8 draws another hash seed when a snapshot is started
 *   (`--rehash-snapshot`); Math.random begins the same everywhere, and the agent does not use it.
 * - one thread, no address randomisation (setarch -R), an empty environment, and paths that are always of the same
 *   length: some addresses get into the heap, and what is allocated before them moves them.
 * - `/proc/self/cwd/…` as the script's path, and what packages/agent/src/snapshot.ts sets: they are in the heap.
 * - no address of malloc's heap, which depends on how busy the machine is: packages/agent/src/late-views.ts.
 * - the image's own Node with the image's own loader and libraries.
 */
import { copyFile, mkdtemp, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { nodePath } from '../boot-protocol.ts';
import { ImageError } from '../errors.ts';
import { run } from '../run.ts';

const script = 'snapshot.cjs';
const blob = 'agent.blob';
/** Not $TMPDIR: its length would matter. */
const workPrefix = '/tmp/coracle-';

/**
 * @param root the root filesystem, with Node and its libraries in it
 * @param output the file to make
 */
export async function makeSnapshot(
  root: string,
  source: string,
  output: string,
  signal?: AbortSignal,
): Promise<void> {
  const folder = await mkdtemp(workPrefix);
  try {
    await copyFile(source, join(folder, script));
    // The loader is what /proc/self/exe names, so it has to be here itself.
    await copyFile(join(root, 'usr/lib64/ld-linux-x86-64.so.2'), join(folder, 'ld.so'));
    await symlink(join(root, 'usr/lib/x86_64-linux-gnu'), join(folder, 'lib'));
    await symlink(join(root, nodePath), join(folder, 'node'));
    const deterministic = ['--v8-pool-size=0', '--single-threaded', '--hash-seed=1', '--random-seed=1'];
    const node = ['./ld.so', '--library-path', 'lib', './node', ...deterministic, '--no-warnings'];
    const task = ['--snapshot-blob', blob, '--build-snapshot', `/proc/self/cwd/${script}`];
    await run('setarch', ['-R', 'env', '-i', ...node, ...task], {
      signal,
      cwd: folder,
      debianPackage: 'util-linux',
    });
    await copyFile(join(folder, blob), output);
  } catch (cause) {
    if (!(cause instanceof ImageError) || cause.code !== 'tool-failed') throw cause;
    throw new ImageError(
      'tool-failed',
      `cannot make a snapshot of the agent in ${folder}: ${cause.message}`,
      {
        cause,
      },
    );
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}
