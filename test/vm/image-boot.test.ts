/**
 * Boots the base image with Debian's kernel in a real QEMU, with an agent of the test's own: process 1 is Node on the read-only root,
 * crun and the applets run; and a boot that cannot succeed says why on the console and switches the machine off.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage, type Image, rootDiskSerial } from '../../packages/image/src/index.ts';

const agentSource = `
const { execFileSync } = require('node:child_process');
const { readFileSync } = require('node:fs');
const mounts = readFileSync('/proc/mounts', 'utf8').trim().split('\\n').map((line) => line.split(' '));
console.log('agent says ' + JSON.stringify({
  pid: process.pid,
  version: process.version,
  execPath: process.execPath,
  mounts: mounts.map(([, target, type, options]) => [target, type, options.split(',')[0]]),
  crun: execFileSync('crun', ['--version'], { encoding: 'utf8' }).split('\\n')[0],
  shell: execFileSync('/bin/sh', ['-c', 'id -un; uname -r'], { encoding: 'utf8' }),
}));
execFileSync('poweroff', ['-f']);
`;

let folder: string;
let image: Image;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'coracle-image-'));
  const agent = join(folder, 'agent');
  await mkdir(agent);
  await writeFile(join(agent, 'agent.js'), agentSource);
  const recipe = join(import.meta.dirname, '../../images/base');
  const output = join(folder, 'image');
  ({ image } = await buildImage({ recipe, agent, kernel: 'prebuilt', output, useCache: false }));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** The whole console of a machine that switches itself off. */
async function boot(serial: string): Promise<string> {
  const machine = ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot', '-m', '256'];
  const accelerator = ['-machine', 'q35', '-accel', 'tcg,thread=multi', '-cpu', 'max'];
  const kernel = ['-kernel', image.kernelPath, '-initrd', image.initrdPath ?? ''];
  const disk = `if=none,id=root,format=raw,readonly=on,file.locking=off,file=${image.rootPath}`;
  const child = spawn(
    'qemu-system-x86_64',
    [...machine, ...accelerator, ...kernel, '-append', 'console=ttyS0 quiet panic=-1', '-drive', disk].concat(
      ['-device', `virtio-blk-pci,drive=root,serial=${serial}`, '-serial', 'stdio'],
    ),
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  let console = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    console += text;
  });
  const deadline = setTimeout(() => child.kill('SIGKILL'), 120_000);
  await once(child, 'close');
  clearTimeout(deadline);
  return console;
}

test('the agent is process 1 on a read-only root, with crun and the applets', async () => {
  const console = await boot(rootDiskSerial);
  for (const stage of ['initrd', 'modules', 'root', 'agent'])
    expect(console).toContain(`coracle-boot: ${stage}\r\n`);
  const said = JSON.parse(/agent says (.*)/.exec(console)?.[1] ?? 'null');
  expect(said).toMatchObject({ pid: 1, version: process.version, execPath: '/usr/bin/node' });
  expect(said.mounts).toEqual([
    ['/dev', 'devtmpfs', 'rw'],
    ['/proc', 'proc', 'rw'],
    ['/sys', 'sysfs', 'rw'],
    ['/', 'erofs', 'ro'],
  ]);
  expect(said.crun).toBe(`crun version ${image.manifest.versions.crun}`);
  expect(said.shell).toBe(`root\n${image.manifest.kernel.release}\n`);
});

test('without the root disk /init says so and switches the machine off', async () => {
  const console = await boot('another-disk');
  expect(console).toContain('coracle-boot: failed: there is no disk with the serial number coracle-root');
  expect(console).not.toContain('coracle-boot: agent');
});
