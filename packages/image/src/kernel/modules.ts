/**
 * Which kernel modules /init loads, and in which order, so that nothing has to be looked up at boot.
 *
 * Debian's kernel packages hold no modules.dep (depmod makes it when they are installed), but every module
 * names what it needs in its `.modinfo` section: `depends` is written by the kernel's modpost from the
 * symbols used, and `softdep` by the author. Both are what depmod and modprobe(8) go by.
 */
import { basename } from 'node:path';
import { ImageError } from '../errors.ts';

/** What is known of one module that is not built into the kernel. */
export interface KernelModule {
  /** Path below the kernel's module folder, such as kernel/fs/erofs/erofs.ko. */
  path: string;
  depends: string[];
  /** Modules or aliases to be loaded before, if there are any. */
  softDependsBefore: string[];
}

export interface ModuleCatalog {
  /** Paths of all modules, by `moduleKey` of their names. */
  paths: ReadonlyMap<string, string>;
  /** Keys of what is compiled into the kernel. */
  builtin: ReadonlySet<string>;
  read(path: string): KernelModule;
}

/** The kernel takes - and _ in module names for the same. */
export function moduleKey(name: string): string {
  return basename(name).replace(/\.ko$/, '').replaceAll('-', '_');
}

/**
 * Module paths in loading order: whatever a module depends on comes before it.
 * @throws ImageError `input-missing` when a required module is neither a file nor built in.
 */
export function orderModules(
  catalog: ModuleCatalog,
  required: readonly string[],
  optional: readonly string[],
): KernelModule[] {
  const ordered = new Map<string, KernelModule>();
  // Soft dependencies may go round in a circle; the hard ones cannot.
  const visited = new Set<string>();
  const visit = (name: string, wantedBy: string): void => {
    const key = moduleKey(name);
    if (visited.has(key) || catalog.builtin.has(key)) return;
    visited.add(key);
    const path = catalog.paths.get(key);
    if (!path)
      throw new ImageError('input-missing', `the kernel has no module ${name} (wanted by ${wantedBy})`);
    const module = catalog.read(path);
    for (const soft of module.softDependsBefore) {
      // A soft dependency that is no module's name is an alias (libcrc32c: crc32c) or not there; both are fine.
      if (catalog.paths.has(moduleKey(soft))) visit(soft, path);
    }
    for (const needed of module.depends) visit(needed, path);
    ordered.set(key, module);
  };
  for (const name of required) visit(name, 'the recipe');
  for (const name of optional) if (catalog.paths.has(moduleKey(name))) visit(name, 'the recipe');
  return [...ordered.values()];
}

/**
 * For modprobe's modules.dep: of modules that are loaded by name, what has to be loaded before. As depmod writes it the
 * last one comes first.
 */
export function dependenciesOf(
  catalog: ModuleCatalog,
  name: string,
  loaded: readonly KernelModule[],
): KernelModule[] {
  const there = new Set(loaded.map((module) => moduleKey(module.path)));
  return orderModules(catalog, [name], [])
    .filter(({ path }) => moduleKey(path) !== moduleKey(name) && !there.has(moduleKey(path)))
    .toReversed();
}

/** Reads `depends` and `softdep` of a module's `.modinfo` pairs. */
export function describeModule(path: string, info: readonly (readonly [string, string])[]): KernelModule {
  const values = (key: string) => info.filter(([name]) => name === key).map(([, value]) => value);
  return {
    path,
    depends: values('depends').flatMap((list) => list.split(',').filter(Boolean)),
    softDependsBefore: values('softdep').flatMap((text) => softBefore(text)),
  };
}

/** `pre: a b post: c` gives a and b (modprobe.d(5), softdep). */
function softBefore(text: string): string[] {
  const before: string[] = [];
  let section = '';
  for (const word of text.split(/\s+/).filter(Boolean)) {
    if (word === 'pre:' || word === 'post:') section = word;
    else if (section === 'pre:') before.push(word);
  }
  return before;
}
