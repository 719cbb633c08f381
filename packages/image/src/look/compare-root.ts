/** Compares an unpacked root with the list of what should be in it. */
import { join } from 'node:path';
import type { Contents, ContentsEntry } from '../contents.ts';
import { sha256File } from '../digest.ts';
import { readTree, type TreePath } from '../root/tree.ts';
import type { Problem } from './check-file.ts';
import type { ExtractedRoot } from './extract.ts';

/** @param file that holds the root, for messages */
export async function compareRoot(
  root: ExtractedRoot,
  contents: Contents,
  file: string,
  signal?: AbortSignal,
): Promise<Problem[]> {
  const found = new Map((await readTree(root.folder)).map((entry) => [entry.path, entry]));
  const problems: Problem[] = [];
  const say = (path: string, why: string) => {
    const where = `${file}!/${path}`;
    problems.push({ file: where, message: `${where} ${why}` });
  };
  for (const wanted of contents.entries) {
    signal?.throwIfAborted();
    const entry = found.get(wanted.path);
    found.delete(wanted.path);
    const why = entry ? await difference(root, wanted, entry, signal) : 'is missing; contents.json lists it';
    if (why !== undefined) say(wanted.path, why);
  }
  for (const path of found.keys()) say(path, 'is not listed in contents.json');
  for (const [path, owner] of root.foreign) say(path, `belongs to ${owner} and should belong to 0:0`);
  return problems;
}

async function difference(
  root: ExtractedRoot,
  wanted: ContentsEntry,
  found: TreePath,
  signal?: AbortSignal,
): Promise<string | undefined> {
  if (found.type !== wanted.type) return `is a ${found.type} and should be a ${wanted.type}`;
  if (found.type === 'symlink' && wanted.type === 'symlink') {
    if (found.target === wanted.target) return undefined;
    return `is a link to ${found.target} and should be one to ${wanted.target}`;
  }
  const mode = found.mode.toString(8).padStart(4, '0');
  if (mode !== wanted.mode) return `has mode ${mode} and should have ${wanted.mode}`;
  if (wanted.type !== 'file') return undefined;
  const digest = await sha256File(join(root.folder, wanted.path), signal);
  if (digest === wanted.sha256) return undefined;
  return `has SHA-256 ${digest} and should have SHA-256 ${wanted.sha256}`;
}
