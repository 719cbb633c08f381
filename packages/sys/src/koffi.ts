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
 * Measured on two cores of CI's kind with Node 24: dlopen 3 ms, libc 0.2 ms, each declared function 10 µs
 * (`npx tsx packages/sys/bench/startup.ts` prints them again).
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import type koffiModule from 'koffi';

export type Koffi = typeof koffiModule;

/** The addon's exports depend on the version; what was tried against one is not promised for another. */
const SUPPORTED_VERSION = /^3\./;

const moduleFolder = import.meta.dirname ?? dirname(process.argv[1] ?? process.cwd());

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

export const koffi: Koffi = loadAddon();
