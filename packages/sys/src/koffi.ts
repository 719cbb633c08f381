/**
 * Loads koffi's prebuilt native addon, and nothing of koffi's JavaScript.
 *
 * The addon itself exports the whole API; koffi's own loader only looks for the file and adds
 * wrappers for deprecated names. Looking ourselves lets one source work in both places where it runs:
 *
 * - bundled (esbuild, ESM or CommonJS): `koffi.node` lies in the folder of the bundle;
 * - from the workspace: the addon comes from the package `@koromix/koffi-linux-x64`, an optional
 *   dependency of `koffi`, which only `koffi` itself can resolve (pnpm does not hoist it).
 *
 * Loading waits for the first foreign call, so that a command which makes none pays nothing: the dlopen costs
 * 1.4 ms and 2 MB, finding the package from the workspace some 10 ms more (a bundle does not look). Declaring a
 * function costs 40 to 150 µs, hence `libc.ts` declares at first use; a call then costs 0.3 to 0.5 µs (Node 24
 * on two cores of CI's kind).
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type koffiModule from 'koffi';

export type Koffi = typeof koffiModule;

/** The addon's exports depend on the version; what was tried against one is not promised for another. */
const SUPPORTED_VERSION = /^3\./;

// A CommonJS bundle has no import.meta; an ES module has no __dirname.
const moduleFolder = import.meta.dirname ?? __dirname;

function findAddon(): string {
  const beside = join(moduleFolder, 'koffi.node');
  if (existsSync(beside)) return beside;
  try {
    const fromHere = createRequire(join(moduleFolder, 'koffi.ts'));
    const fromKoffi = createRequire(fromHere.resolve('koffi'));
    return join(dirname(fromKoffi.resolve('@koromix/koffi-linux-x64')), 'linux_x64', 'koffi.node');
  } catch (cause) {
    throw new Error(
      `cannot find koffi's native addon: there is no ${beside}, and the package @koromix/koffi-linux-x64 ` +
        `cannot be resolved from ${moduleFolder}; put koffi.node beside the bundle or install the dependencies`,
      { cause },
    );
  }
}

function loadAddon(): Koffi {
  const path = findAddon();
  const addon = { exports: {} as Koffi };
  try {
    process.dlopen(addon, path);
  } catch (cause) {
    throw new Error(
      `cannot load koffi's native addon ${path} (glibc on x86-64 is needed): ${(cause as Error).message}`,
      { cause },
    );
  }
  if (!SUPPORTED_VERSION.test(addon.exports.version)) {
    throw new Error(
      `koffi's native addon ${path} has version ${addon.exports.version}, but version 3 is needed`,
    );
  }
  return addon.exports;
}

let loaded: Koffi | undefined;

/** The addon, loaded at the first call. */
export function koffi(): Koffi {
  loaded ??= loadAddon();
  return loaded;
}
