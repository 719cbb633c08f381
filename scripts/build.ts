/**
 * `pnpm build [TARGET…]`: bundles each program into one file below dist/ and puts an executable into bin/
 * that runs it with the workspace's own Node, from any folder and with an empty environment, since that
 * is how engines call a runtime. Without targets everything is built; what fails does not hold up the rest.
 */
import { execFile } from 'node:child_process';
import { chmod, copyFile, mkdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { availableParallelism } from 'node:os';
import { basename, dirname, join, relative, resolve } from 'node:path';
import { promisify } from 'node:util';
import { build as bundle, formatMessages } from 'esbuild';
import { bundlePage } from '../packages/tap/src/report/bundle-page.ts';
import { PAGE_PARTS_FILE } from '../packages/tap/src/report/page-parts.ts';
import { dissector } from '../packages/tap/src/wireshark/dissector.ts';

const root = dirname(import.meta.dirname);

interface Program {
  /** The bundled file, below the checkout. */
  readonly bundle: string;
  readonly entry: string;
  /** The executable that runs it; the agent has none: the guest's init and the local driver start it. */
  readonly executable?: string;
  /** For shims, which start it without arguments (packages/runtime/src/sandbox/proxy.ts says why). */
  readonly starter?: string;
  /** Arguments of node itself. */
  readonly nodeFlags?: readonly string[];
  /** Packages that are not bundled: optional ones that the program never asks for. */
  readonly external?: readonly string[];
  /** A CommonJS bundle that takes itself to lie in this folder. */
  readonly guestFolder?: string;
  /** Files beside the bundle, by name, each as it is made ready. */
  readonly beside?: Readonly<Record<string, () => string | Promise<string>>>;
  /** Writes packages.json beside the bundle: what the image's SBOM says of the agent (packages/image). */
  readonly listsPackages?: boolean;
}

const programs: Record<string, Program> = {
  agent: { entry: 'packages/agent/src/main.ts', bundle: 'dist/agent/agent.js', listsPackages: true },
  // What a guest image's agent is made of: run once, while the image is built (packages/agent/src/snapshot.ts).
  'agent-snapshot': {
    entry: 'packages/agent/src/snapshot.ts',
    bundle: 'dist/agent/snapshot.cjs',
    // The addon's place in the guest: the folder of the builder is gone there.
    guestFolder: '/opt/coracle',
  },
  coracle: {
    entry: 'packages/runtime/src/main.ts',
    bundle: 'dist/coracle.js',
    executable: 'bin/coracle',
  },
  'coracle-proxy': {
    entry: 'packages/proxy/src/main.ts',
    bundle: 'dist/coracle-proxy.js',
    executable: 'bin/coracle-proxy',
    starter: 'bin/coracle-start-proxy',
    // What the proxy reads is garbage at once: a small young generation gives it back early, for a few collections more.
    // Its heap is small and what it reads counts towards the heap's limit: marking beside the work began tens of times
    // a second and took half of the processor (docs/performance.md, "Switching").
    nodeFlags: ['--max-semi-space-size=1', '--no-incremental-marking'],
  },
  'coracle-image': {
    entry: 'packages/image/src/main.ts',
    bundle: 'dist/coracle-image.js',
    executable: 'bin/coracle-image',
    // CycloneDX's library writes XML with it, and JSON without.
    external: ['xmlbuilder2'],
  },
  'coracle-tap': {
    entry: 'packages/tap/src/main.ts',
    bundle: 'dist/coracle-tap.js',
    executable: 'bin/coracle-tap',
    // What makes the report's page of its sources.
    external: ['esbuild'],
    beside: {
      [PAGE_PARTS_FILE]: async () => JSON.stringify(await bundlePage()),
      'coracle.lua': dissector,
    },
  },
};

const targets: Record<string, () => Promise<readonly string[]>> = {
  ...Object.fromEntries(
    Object.entries(programs).map(([name, program]) => [name, () => buildProgram(program)] as const),
  ),
  'coracle-shim': buildShim,
};

async function buildProgram(program: Program): Promise<string[]> {
  const entry = join(root, program.entry);
  if (!(await exists(entry))) throw new Error(`its source ${program.entry} does not exist`);
  const outfile = join(root, program.bundle);
  // By rename: a command that starts meanwhile must not find half a file.
  const temporary = `${outfile}.${process.pid}`;
  const result = await bundle({
    entryPoints: [entry],
    outfile: temporary,
    bundle: true,
    platform: 'node',
    target: 'node24',
    format: program.guestFolder === undefined ? 'esm' : 'cjs',
    // Error messages and stack traces are read by people; only dead branches and comments go.
    minifySyntax: true,
    legalComments: 'eof',
    sourcemap: false,
    // Dependencies that are CommonJS call require() for Node's own modules, which ESM does not have.
    banner: {
      js:
        program.guestFolder === undefined
          ? `import { createRequire as coracleRequire } from 'node:module';\nconst require = coracleRequire(import.meta.url);`
          : '',
    },
    define: {
      'process.env.NODE_ENV': '"production"',
      ...(program.guestFolder === undefined
        ? {}
        : { 'import.meta.dirname': JSON.stringify(program.guestFolder) }),
    },
    external: [...(program.external ?? [])],
    // Its main file finds its own parts in a way that no bundler follows.
    alias: {
      'jsonc-parser': createRequire(join(root, 'packages/runtime/package.json')).resolve(
        'jsonc-parser/lib/esm/main.js',
      ),
    },
    metafile: true,
    logLevel: 'silent',
  }).catch(async (failure) => {
    const lines = await formatMessages(failure.errors ?? [], { kind: 'error', color: process.stderr.isTTY });
    throw new Error(lines.length > 0 ? `\n${lines.join('')}` : String(failure));
  });
  for (const line of await formatMessages(result.warnings, { kind: 'warning' })) process.stderr.write(line);
  await rename(temporary, outfile);
  // Away from the checkout (in the guest, in an installation) this tells Node what the bundle is.
  await writeChanged(join(dirname(outfile), 'package.json'), '{ "type": "module" }\n');
  const made = [program.bundle, await copyAddon(dirname(outfile))];
  if (program.listsPackages) {
    const inputs = Object.values(result.metafile.outputs).flatMap((output) =>
      Object.entries(output.inputs).flatMap(([path, { bytesInOutput }]) => (bytesInOutput > 0 ? [path] : [])),
    );
    made.push(await writePackageList(dirname(outfile), basename(program.bundle), inputs));
  }
  for (const [name, make] of Object.entries(program.beside ?? {})) {
    const file = join(dirname(outfile), name);
    await writeChanged(file, await make());
    made.push(relative(root, file));
  }
  if (program.executable !== undefined) made.push(await writeExecutable(program, program.executable));
  if (program.starter !== undefined) made.push(await writeStarter(program.starter));
  return made;
}

/** Beside the bundle, so that it is in the digest of the agent's folder; the image builder keeps it out of the guest. */
async function writePackageList(folder: string, bundle: string, inputs: readonly string[]): Promise<string> {
  const packages = new Map<
    string,
    { name: string; version: string; license: string | null; files: string[] }
  >();
  const add = async (source: string, file: string) => {
    const found = await npmPackageOf(source);
    if (found && !packages.has(found.name)) packages.set(found.name, { ...found, files: [file] });
  };
  for (const input of inputs) await add(resolve(input), bundle);
  await add(addonSource(), 'koffi.node');
  const sorted = [...packages.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
  const target = join(folder, 'packages.json');
  await writeChanged(target, `${JSON.stringify({ packages: sorted }, null, 2)}\n`);
  return relative(root, target);
}

/** The npm package that a source is from; undefined for our own. */
async function npmPackageOf(source: string) {
  if (!source.includes('/node_modules/')) return undefined;
  for (let folder = dirname(source); !folder.endsWith('/node_modules'); folder = dirname(folder)) {
    const text = await readFile(join(folder, 'package.json'), 'utf8').catch(() => undefined);
    const { name, version, license } = text === undefined ? {} : JSON.parse(text);
    // A package.json without a name only says which kind of modules lie there.
    if (name && version) return { name, version, license: license ?? null } as const;
  }
  return undefined;
}

/** koffi's native addon lies beside each bundle, where packages/sys/src/koffi.ts looks first. */
async function copyAddon(folder: string): Promise<string> {
  const source = addonSource();
  const target = join(folder, 'koffi.node');
  const [wanted, found] = await Promise.all([stat(source), stat(target).catch(() => undefined)]);
  if (found?.size !== wanted.size || found.mtimeMs < wanted.mtimeMs) {
    // By rename: programs that run have the old file mapped.
    const temporary = `${target}.${process.pid}.${performance.now()}`;
    await copyFile(source, temporary);
    await rename(temporary, target);
  }
  return relative(root, target);
}

function addonSource(): string {
  const fromKoffi = createRequire(createRequire(join(root, 'packages/sys/package.json')).resolve('koffi'));
  return join(dirname(fromKoffi.resolve('@koromix/koffi-linux-x64')), 'linux_x64', 'koffi.node');
}

/**
 * A shell script, since a `#!` line has no room for a long path or a space in it. The shell costs
 * 1 ms; the cache of compiled code saves 20. NODE_OPTIONS is whoever calls us's, and not meant for us.
 */
async function writeExecutable(program: Program, executable: string): Promise<string> {
  const node = await realpath(join(root, 'node_modules/.bin/node'));
  const { nodeFlags = [], bundle: bundleFile } = program;
  const words = [node, ...nodeFlags, join(root, bundleFile)].map(quote);
  const script = [
    '#!/bin/sh',
    '# Made by scripts/build.ts; `pnpm build` writes it again.',
    'unset NODE_OPTIONS',
    // As packages/vm/src/probe.ts finds the cache folder.
    '[ -n "$CORACLE_CACHE" ] || {',
    '  if [ -n "$XDG_CACHE_HOME" ]; then CORACLE_CACHE=$XDG_CACHE_HOME/coracle',
    '  elif [ -n "$HOME" ]; then CORACLE_CACHE=$HOME/.cache/coracle',
    '  else CORACLE_CACHE=/var/cache/coracle; fi',
    '}',
    'export CORACLE_CACHE NODE_COMPILE_CACHE="$CORACLE_CACHE/compile"',
    `exec ${words.join(' ')} "$@"`,
    '',
  ].join('\n');
  return await writeScript(executable, script);
}

/** Becomes the proxy that the environment describes, with the lock that the shim gives it (packages/shim/src/starter.c). */
async function writeStarter(executable: string): Promise<string> {
  const script = [
    '#!/bin/sh',
    '# Made by scripts/build.ts; `pnpm build` writes it again.',
    // Out of the cgroup of the VM whose shim has started this; without the right to, it stays.
    'for procs in $CORACLE_PROXY_CGROUPS; do { echo $$ > "$procs"; } 2>/dev/null || :; done',
    '[ -z "$CORACLE_SANDBOX" ] || set -- --sandbox "$CORACLE_SANDBOX"',
    `exec ${quote(join(root, 'bin/coracle-proxy'))} --lock-fd 3 \\`,
    '  --socket "$CORACLE_PROXY_SOCKET" --sandboxes "$CORACLE_SANDBOXES" "$@"',
    '',
  ].join('\n');
  return await writeScript(executable, script);
}

async function writeScript(executable: string, script: string): Promise<string> {
  const path = join(root, executable);
  await mkdir(dirname(path), { recursive: true });
  await writeChanged(path, script);
  await chmod(path, 0o755);
  return executable;
}

/** For sh. */
function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

async function buildShim(): Promise<string[]> {
  const folder = join(root, 'packages/shim');
  if (!(await exists(join(folder, 'Makefile')))) throw new Error('its packages/shim/Makefile does not exist');
  await mkdir(join(root, 'bin'), { recursive: true });
  await promisify(execFile)('make', ['--silent', '-C', folder, `-j${availableParallelism()}`]).catch(
    (failure) => {
      const { code, stderr, stdout } = failure as NodeJS.ErrnoException & {
        stderr?: string;
        stdout?: string;
      };
      if (code === 'ENOENT') throw new Error('make is not installed: apt-get install make gcc libc6-dev');
      throw new Error(`\n${stdout ?? ''}${stderr ?? String(failure)}`);
    },
  );
  return ['bin/coracle-shim', 'bin/coracle-names'];
}

async function exists(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined)) !== undefined;
}

/** Leaves the file alone when it is the same: others may be reading it, and make(1) looks at its time. */
async function writeChanged(path: string, text: string): Promise<void> {
  if ((await readFile(path, 'utf8').catch(() => undefined)) === text) return;
  const temporary = `${path}.${process.pid}.${performance.now()}`;
  try {
    await writeFile(temporary, text);
    await rename(temporary, path);
  } finally {
    await rm(temporary, { force: true });
  }
}

async function main(names: readonly string[]): Promise<number> {
  const unknown = names.filter((name) => !Object.hasOwn(targets, name));
  if (unknown.length > 0) {
    console.error(
      `build: there is no target ${unknown.join(', ')}; there are ${Object.keys(targets).join(', ')}`,
    );
    return 2;
  }
  const wanted = names.length > 0 ? names : Object.keys(targets);
  const results = await Promise.all(
    wanted.map(async (name) => {
      const startMs = performance.now();
      try {
        const made = await targets[name]!();
        console.error(`build: ${name}: ${made.join(', ')} (${Math.round(performance.now() - startMs)} ms)`);
        return true;
      } catch (error) {
        console.error(`build: cannot build ${name}: ${(error as Error).message}`);
        return false;
      }
    }),
  );
  return results.every(Boolean) ? 0 : 1;
}

process.exitCode = await main(process.argv.slice(2));
