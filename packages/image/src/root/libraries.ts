/** Finds the shared libraries that programs need among unpacked Debian packages. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ImageError } from '../errors.ts';
import { interpreter, isGuestElf, neededLibraries } from './elf.ts';
import { resolveInRoot } from './resolve.ts';

export interface UnpackedPackage {
  name: string;
  /** Folder with its content. */
  folder: string;
}

export interface FoundLibrary {
  soname: string;
  /** File on the host, no link. */
  path: string;
  packageName: string;
}

export interface Program {
  /** File on the host. */
  path: string;
  /** As messages name it. */
  name: string;
}

/** Where Debian 12 keeps libraries inside a package; some still carry the names from before the merge into /usr. */
const libraryFolders = [
  'usr/lib/x86_64-linux-gnu',
  'lib/x86_64-linux-gnu',
  'usr/lib64',
  'lib64',
  'usr/lib',
  'lib',
];

/**
 * All libraries that `programs` (what is no ELF file is passed over) need, and those that these need,
 * sorted by soname. The dynamic loader is among them.
 * @throws ImageError `input-missing`, naming the program and the library that no package holds.
 */
export async function findLibraries(
  programs: readonly Program[],
  packages: readonly UnpackedPackage[],
): Promise<FoundLibrary[]> {
  const found = new Map<string, FoundLibrary>();
  const queue = [...programs];
  for (let program = queue.pop(); program !== undefined; program = queue.pop()) {
    const file = await readFile(program.path);
    if (!isGuestElf(file)) continue;
    const loader = interpreter(file)?.split('/').at(-1);
    for (const soname of [...neededLibraries(file), ...(loader ? [loader] : [])]) {
      if (found.has(soname)) continue;
      const library = await locate(soname, packages);
      if (!library) {
        throw new ImageError(
          'input-missing',
          `${program.name} needs the library ${soname}, which none of the recipe's packages holds; add the package with it to the recipe`,
        );
      }
      found.set(soname, library);
      queue.push({ path: library.path, name: `${soname} of ${library.packageName}` });
    }
  }
  return [...found.values()].sort((a, b) => (a.soname < b.soname ? -1 : 1));
}

async function locate(
  soname: string,
  packages: readonly UnpackedPackage[],
): Promise<FoundLibrary | undefined> {
  for (const { name, folder } of packages) {
    for (const below of libraryFolders) {
      const path = await resolveInRoot(folder, `${below}/${soname}`);
      if (path !== undefined) return { soname, path: join(folder, path), packageName: name };
    }
  }
  return undefined;
}
