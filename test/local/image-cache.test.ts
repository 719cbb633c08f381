/** `list`, `prune` and `lock`, each with a cache of its own; the archive that `lock` asks is a script. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { pruneCache } from '../../packages/image/src/index.ts';
import { type Lock, readLock } from '../../packages/image/src/pins/lock.ts';

const checkout = join(import.meta.dirname, '../..');
const program = join(checkout, 'packages/image/src/main.ts');
const dayMs = 24 * 60 * 60 * 1000;

let folder: string;
let cache: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coracle-cache-'));
  cache = join(folder, 'cache');
  await mkdir(cache);
});
afterEach(() => rm(folder, { recursive: true, force: true }));

function coracleImage(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const PATH = `${join(folder, 'bin')}:${process.env.PATH}`;
  const env = { ...process.env, CORACLE_CACHE: cache, NO_COLOR: '1', PATH };
  return new Promise((resolve) => {
    execFile(process.execPath, [program, ...args], { env }, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

async function keep(path: string, content: string, ageDays: number): Promise<void> {
  const file = join(cache, path);
  await mkdir(dirname(file), { recursive: true });
  await writeFile(file, content);
  const used = new Date(Date.now() - ageDays * dayMs);
  await utimes(file, used, used);
  if (dirname(dirname(path)) !== '.') await utimes(dirname(file), used, used);
}

const name = (digit: string) => digit.repeat(64);

/** Three images, two kernels, two packages and what a build left that was killed. */
async function fill(): Promise<void> {
  await keep(`images/${name('a')}/manifest.json`, '{"name": "base"}', 0);
  await keep(`images/${name('b')}/manifest.json`, '{"name": "debug"}', 2);
  await keep(`images/${name('c')}/manifest.json`, '{"name": "old"}', 40);
  await keep(`kernels/${name('d')}/kernel.json`, '{"release": "6.12.1-coracle"}', 3);
  await keep(`kernels/${name('e')}/kernel.json`, '{"release": "6.12.0-coracle"}', 50);
  await keep(`packages/${name('f')}.deb`, 'no package', 1);
  await keep(`packages/${name('0')}.deb`, 'no package', 31);
  // No process has such a number (proc(5), pid_max).
  await keep(`images/${name('1')}.building-99999999/scratch`, '', 0);
  await keep('images/notes.txt', 'of somebody else', 400);
}

async function left(): Promise<string> {
  const kinds = ['images', 'kernels', 'packages'];
  const names = await Promise.all(kinds.map((kind) => readdir(join(cache, kind)).catch(() => [])));
  return names
    .flat()
    .map((one) => one.slice(0, 1))
    .sort()
    .join('');
}

describe('list', () => {
  test('shows images, kernels, packages and leftovers', async () => {
    await fill();
    const { code, stdout } = await coracleImage('list');
    expect(code).toBe(0);
    expect(stdout.split('\n')[0]).toMatch(`${cache}: `);
    expect(stdout.split('\n')[0]).toMatch(/ B in 8 things$/);
    expect(stdout).toMatch(/^ {2}image +base +16 B +just now +a{12}$/m);
    expect(stdout).toMatch(/^ {2}image +old +15 B +40 days ago +c{12}$/m);
    expect(stdout).toMatch(/^ {2}kernel +6\.12\.1-coracle +29 B +3 days ago +d{12}$/m);
    expect(stdout).toMatch(/^ {2}leftover +1{64}\.building-99999999 /m);
    const entries = JSON.parse((await coracleImage('list', '--json')).stdout);
    expect(entries[0]).toMatchObject({ kind: 'image', name: 'base', sizeBytes: 16 });
  });

  test('an empty cache, and one that is not there', async () => {
    expect((await coracleImage('list')).stdout).toBe(`${cache}: empty\n`);
    await rm(cache, { recursive: true });
    expect((await coracleImage('prune')).stdout).toBe('freed 0 B (0 things)\n');
  });
});

describe('prune', () => {
  beforeEach(fill);

  test('removes what was not used for 30 days and what was left, and nothing else', async () => {
    const { code, stdout } = await coracleImage('prune');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^freed \d+ B \(4 things\)$/m);
    expect(await left()).toBe('abdfn');
  });

  test('--keep N keeps so many images and kernels', async () => {
    await coracleImage('prune', '--keep', '1');
    expect(await left()).toBe('adfn');
    await coracleImage('prune', '--keep', '0');
    expect(await left()).toBe('fn');
  });

  test('--all leaves only what is none of ours', async () => {
    expect((await coracleImage('prune', '--all')).stdout).toMatch(/\(8 things\)\n$/);
    expect(await left()).toBe('n');
  });

  test('--dry-run removes nothing', async () => {
    const { stdout } = await coracleImage('prune', '--all', '--dry-run');
    expect(stdout).toMatch(/^would free \d+ B \(8 things\)$/m);
    const found = JSON.parse((await coracleImage('prune', '--dry-run', '--json')).stdout);
    expect(found).toMatchObject({ dryRun: true, inUse: [] });
    expect(found.removed).toHaveLength(4);
    expect(await left()).toBe('01abcdefn');
  });

  test('leaves what a running build uses', async () => {
    const build = spawn('sleep', ['60']);
    try {
      await keep(`users/${build.pid}`, '', 1.5);
      const { inUse } = await pruneCache({ cache, all: true });
      expect(inUse.map(({ kind }) => kind)).toEqual(['image', 'package']);
      expect(await left()).toBe('afn');
    } finally {
      build.kill();
      await once(build, 'close');
    }
    await pruneCache({ cache, all: true });
    expect(await left()).toBe('n');
  });
});

describe('lock', () => {
  let lock: string;
  let recipe: string;
  beforeEach(async () => {
    recipe = join(folder, 'images/own');
    await mkdir(recipe, { recursive: true });
    const base = relative(recipe, join(checkout, 'images/base'));
    await writeFile(join(recipe, 'image.toml'), `format = 1\nname = "own"\nextends = "${base}"\n`);
    lock = join(folder, 'images/images.lock.json');
    await writeFile(lock, await readFile(join(checkout, 'images/images.lock.json')));
    await mkdir(join(folder, 'bin'));
  });

  /** apt-cache(8) with an archive that has what the lock pins, after `change`. */
  async function archive(change: (debian: Lock['debian']) => void = () => {}): Promise<void> {
    const { debian } = await readLock(lock);
    change(debian);
    const stanzas = Object.entries(debian).map(([name, pin]) =>
      [
        `Package: ${name}`,
        `Version: ${pin.version}`,
        `Architecture: ${pin.architecture}`,
        `Depends: ${pin.depends.join(', ')}`,
        `Size: ${pin.sizeBytes}`,
        `SHA256: ${pin.sha256}`,
      ].join('\n'),
    );
    await writeFile(join(folder, 'archive'), `${stanzas.join('\n\n')}\n`);
    for (const [program, script] of [
      ['apt-cache', `cat '${join(folder, 'archive')}'`],
      ['apt-get', 'exit 0'],
    ] as const) {
      await writeFile(join(folder, 'bin', program), `#!/bin/sh\n${script}\n`);
      await chmod(join(folder, 'bin', program), 0o755);
    }
  }

  test('says that nothing changed, and leaves the file as it is', async () => {
    await archive();
    const before = await readFile(lock, 'utf8');
    expect(await coracleImage('lock', recipe)).toMatchObject({
      code: 0,
      stdout: `${lock}: nothing changed\n`,
    });
    expect(await readFile(lock, 'utf8')).toBe(before);
  });

  test('pins what the archive has now, and tells what changed', async () => {
    await archive((debian) => {
      debian.crun = { ...debian.crun!, version: '9.9-1', sha256: name('9') };
    });
    const { stdout } = await coracleImage('lock', recipe);
    expect(stdout).toMatch(/^crun {2}1\.\S+ {2}→ {2}9\.9-1\n$/);
    expect((await readLock(lock)).debian.crun).toMatchObject({ version: '9.9-1', sha256: name('9') });
  });

  test('refuses the same version with another digest', async () => {
    await archive((debian) => {
      debian.crun = { ...debian.crun!, sha256: name('9') };
    });
    const before = await readFile(lock, 'utf8');
    const { code, stderr } = await coracleImage('lock', recipe);
    expect(code).toBe(1);
    expect(stderr).toMatch(/crun \S+ in the archive has SHA-256 9{64}, the lock file pins [0-9a-f]{64}/);
    expect(await readFile(lock, 'utf8')).toBe(before);
  });
});
