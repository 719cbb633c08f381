/**
 * Bundles a fuzz target with counters: istanbul puts one on every statement and every branch of our own
 * sources, and the bundle is loaded as one module. All counters lie behind each other in one array, so that
 * the fuzzer clears and compares them between two inputs in a few microseconds.
 */
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { build, type Plugin, transform } from 'esbuild';
import { createInstrumenter } from 'istanbul-lib-instrument';
import { outFolder } from './places.ts';

/** What is fuzzed, and so counted; the targets and the reference codec are not. */
const counted = /\/packages\/(wire|proxy|client)\/src\/[\w/-]+\.ts$/;

/** istanbul's record of one file: counters by the number of a statement, and of a branch's ways. */
interface FileCounters {
  s: Record<string, number> | Uint32Array;
  b: Record<string, number[] | Uint32Array>;
}

/** The same sources are in every bundle. */
const instrumented = new Map<string, Promise<string>>();

async function instrument(file: string): Promise<string> {
  const source = await readFile(file, 'utf8');
  const { code } = await transform(source, { loader: 'ts', sourcefile: file });
  return createInstrumenter({ esModules: true, compact: false }).instrumentSync(code, file);
}

const counters: Plugin = {
  name: 'counters',
  setup({ onLoad }) {
    onLoad({ filter: counted }, async ({ path: file }) => {
      if (file.includes('/testing/')) return undefined;
      const code = instrumented.get(file) ?? instrument(file);
      instrumented.set(file, code);
      return { contents: await code, loader: 'js' };
    });
  },
};

/** Where the bundle of a target is. */
export function bundleOf(name: string): string {
  return path.join(outFolder, `${name}.mjs`);
}

/** Bundles targets, each into one file. */
export async function bundleTargets(names: readonly string[]): Promise<void> {
  await build({
    entryPoints: names.map((name) => ({
      in: path.join(import.meta.dirname, 'targets', `${name}.ts`),
      out: name,
    })),
    outdir: outFolder,
    outExtension: { '.js': '.mjs' },
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: 'esm',
    banner: {
      js: `import { createRequire as coracleRequire } from 'node:module';\nconst require = coracleRequire(import.meta.url);`,
    },
    logLevel: 'error',
    plugins: [counters],
  });
}

/** Loads a bundle and lays its counters into one array. */
export async function loadTarget<Module>(bundle: string): Promise<{ module: Module; counts: Uint32Array }> {
  const module = (await import(pathToFileURL(path.resolve(bundle)).href)) as Module;
  const files = Object.values(
    (globalThis as { __coverage__?: Record<string, FileCounters> }).__coverage__ ?? {},
  );
  const sizes = files.map(({ s, b }) => [
    Object.keys(s).length,
    ...Object.values(b).map((ways) => ways.length),
  ]);
  const counts = new Uint32Array(sizes.flat().reduce((sum, size) => sum + size, 0));
  let at = 0;
  const part = (size: number): Uint32Array => {
    at += size;
    return counts.subarray(at - size, at);
  };
  for (const file of files) {
    file.s = part(Object.keys(file.s).length);
    for (const [branch, ways] of Object.entries(file.b)) file.b[branch] = part(ways.length);
  }
  return { module, counts };
}
