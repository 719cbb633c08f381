/** Finds the shared libraries that programs need among unpacked Debian packages. */
import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { interpreter, isElf, neededLibraries } from './elf.ts';
import { ImageError } from './errors.ts';

export interface UnpackedPackage {
  name: string;
  /** Folder with its content. */
  folder: string;
}

export interface FoundLibrary {
  soname: string;
  /** File on the host; may be a link inside the package's folder. */
  path: string;
  packageName: string;
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
 * All libraries that `programs` (host paths; what is no ELF file is passed over) need, and those that these need,
 * sorted by soname. The dynamic loader is among them.
 * @throws ImageError `input-missing`, naming the program and the library that no package holds.
 */
export async function findLibraries(
  programs: readonly string[],
  packages: readonly UnpackedPackage[],
): Promise<FoundLibrary[]> {
  const found = new Map<string, FoundLibrary>();
  const queue = [...programs];
  for (let path = queue.pop(); path !== undefined; path = queue.pop()) {
    const file = await readFile(path);
    if (!isElf(file)) continue;
    const loader = interpreter(file)?.split('/').at(-1);
    for (const soname of [...neededLibraries(file), ...(loader ? [loader] : [])]) {
      if (found.has(soname)) continue;
      const library = await locate(soname, packages);
      if (!library) {
        throw new ImageError(
          'input-missing',
          `${path} needs the library ${soname}, which none of the recipe's packages holds; add the package with it to the recipe`,
        );
      }
      found.set(soname, library);
      queue.push(library.path);
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
      const path = join(folder, below, soname);
      const there = await access(path).then(
        () => true,
        () => false,
      );
      if (there) return { soname, path, packageName: name };
    }
  }
  return undefined;
}
