/** What is in the guest's root filesystem, and where. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { nodePath } from '../boot-protocol.ts';
import { ImageError } from '../errors.ts';
import type { Recipe } from '../recipe/recipe.ts';
import { run } from '../run.ts';
import { addAgentFiles, addAgentSnapshot } from './agent-files.ts';
import { isElf } from './elf.ts';
import { findLibraries, type Program, type UnpackedPackage } from './libraries.ts';
import { RootTree, type TreeEntry } from './root-tree.ts';
import { addRecipeFiles } from './rootfs-recipe.ts';

/** The root is read-only: whatever the agent mounts something on must be there. */
const mountPoints = ['dev', 'proc', 'sys', 'run', 'var', 'mnt', 'root'];

/** The layout of Debian since the merge into /usr; programs and their interpreter are found by both names. */
const mergedFolders = {
  bin: 'usr/bin',
  sbin: 'usr/bin',
  'usr/sbin': 'bin',
  lib: 'usr/lib',
  lib64: 'usr/lib64',
};

/** Files without which name look-ups fail; the empty ones are there so that the agent can mount its own on them. */
const configuration: Record<string, string> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n',
  'etc/group': 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n',
  'etc/hosts': '127.0.0.1 localhost\n::1 localhost\n',
  'etc/nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
  'etc/hostname': '',
  'etc/resolv.conf': '',
};

export interface RootInputs {
  recipe: Recipe;
  /** Stripped node program on the host. */
  node: string;
  /** The npm package that it is from. */
  nodePackage: string;
  agent: string;
  packages: readonly UnpackedPackage[];
  /** Further links, by path. */
  links?: Readonly<Record<string, string>>;
  /** Folder for what is needed only meanwhile. */
  scratch: string;
  signal?: AbortSignal | undefined;
}

/**
 * Fills `folder` with the guest's root.
 * @returns what is in it and where each thing is from, sorted by path.
 */
export async function fillRoot(folder: string, inputs: RootInputs): Promise<TreeEntry[]> {
  const tree = new RootTree(folder);
  await tree.begin();
  await tree.directory('usr/bin');
  for (const path of mountPoints) await tree.directory(path);
  await tree.directory('tmp', 0o1777);
  for (const [path, target] of Object.entries({ ...mergedFolders, ...inputs.links }))
    await tree.link(path, target);
  for (const [path, content] of Object.entries(configuration)) await tree.text(path, content);

  const programs: Program[] = [{ path: inputs.node, name: nodePath }];
  await tree.copy(nodePath.slice(1), inputs.node, 0o755, { kind: 'npm', package: inputs.nodePackage });
  programs.push(
    ...(await addRecipeFiles(tree, inputs.recipe, (name) => packageFolder(inputs.packages, name))),
  );
  programs.push(...(await addAgentFiles(tree, inputs.agent, inputs.recipe.node.flags)));
  for (const library of await findLibraries(programs, inputs.packages)) {
    // The loader is named in every program by its full path; the rest is found in the multi-arch folder.
    const home = library.soname.startsWith('ld-linux') ? 'usr/lib64' : 'usr/lib/x86_64-linux-gnu';
    const path = `${home}/${library.soname}`;
    // The recipe may have put one there itself, as a link perhaps.
    if (tree.has(path)) continue;
    await tree.copy(path, library.path, 0o755, { kind: 'debian', package: library.packageName });
  }
  await linkApplets(tree, inputs.signal);
  await addAgentSnapshot(tree, inputs.agent, inputs.scratch, inputs.signal);
  return tree.entries;
}

export function packageFolder(packages: readonly UnpackedPackage[], name: string): string {
  const found = packages.find((one) => one.name === name);
  if (!found) throw new ImageError('package-unpinned', `the package ${name} was not fetched`);
  return found.folder;
}

/** A link for each busybox applet whose name is not taken by a real program. */
async function linkApplets(tree: RootTree, signal?: AbortSignal): Promise<void> {
  const busybox = 'usr/bin/busybox';
  if (!tree.has(busybox)) return;
  const path = join(tree.folder, busybox);
  if (!isElf(await readFile(path))) throw new ImageError('recipe-invalid', 'bin/busybox is not a program');
  const origin = { kind: 'debian', package: 'busybox-static' } as const;
  const applets = await run(path, ['--list'], { signal });
  for (const name of applets.split('\n').filter(Boolean)) {
    if (!tree.has(`usr/bin/${name}`)) await tree.link(`usr/bin/${name}`, 'busybox', origin);
  }
}
