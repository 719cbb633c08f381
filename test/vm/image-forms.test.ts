/**
 * The forms an image can have, each booted and running a container: Debian's kernel with its initramfs, ext4, one file
 * that is kernel-mounted root and all (initramfs), and a root that the guest checks block by block (dm-verity). What
 * was changed in the last one does not boot, and the error says so.
 */
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join, relative } from 'node:path';
import { bootReport, createQemuDriver, describeBoot } from '@coracle/vm';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { buildImage, type Image, type KernelChoice } from '../../packages/image/src/index.ts';
import { checkout, Place } from '../contract/place.ts';

let place: Place;
beforeAll(() => {
  place = new Place('qemu');
});
afterAll(() => place[Symbol.asyncDispose]());

/** `images/base` with another root. */
async function build(name: string, kernel: KernelChoice, root = ''): Promise<Image> {
  const recipe = join(place.folder, name);
  mkdirSync(recipe);
  const base = relative(recipe, join(checkout, 'images/base'));
  writeFileSync(
    join(recipe, 'image.toml'),
    `format = 1\nname = "${name}"\nextends = "${base}"\n[root]\n${root}\n`,
  );
  const { image } = await buildImage({
    recipe,
    kernel,
    output: join(place.folder, `${name}-image`),
    lock: join(checkout, 'images/images.lock.json'),
    agent: join(checkout, 'dist/agent'),
    useCache: false,
  });
  return image;
}

async function expectRuns(image: Image): Promise<void> {
  const bundle = place.bundle(['uname', '-r']);
  const ended = await place.coracle(['run', '--bundle', bundle, place.newId()], {
    env: { CORACLE_IMAGE: image.folder },
    deadlineMs: 60_000,
  });
  expect(ended).toEqual({ code: 0, stdout: `${image.manifest.kernel.release}\n`, stderr: '' });
}

test("Debian's kernel, with modules in an initramfs and the root on a disk", async () => {
  const image = await build('prebuilt', 'prebuilt');
  expect(image.manifest).toMatchObject({
    initrd: 'initrd.img',
    kernel: { origin: 'prebuilt', file: 'vmlinux' },
    root: { filesystem: 'erofs', device: 'virtio-blk' },
  });
  await expectRuns(image);
});

test('ext4, mapped by our own kernel', async () => {
  const image = await build('ext4', 'built', 'filesystem = "ext4"');
  expect(image.manifest).toMatchObject({
    initrd: null,
    kernel: { origin: 'built', modules: [] },
    root: { filesystem: 'ext4', file: 'rootfs.ext4', device: 'pmem' },
  });
  await expectRuns(image);
});

test('everything in one initramfs', async () => {
  const image = await build('one-file', 'built', 'filesystem = "initramfs"');
  expect(image.manifest).toMatchObject({
    initrd: 'initrd.img',
    root: { filesystem: 'initramfs', file: 'initrd.img' },
  });
  await expectRuns(image);
});

test('a root with a hash tree boots, and does not once a byte of it was changed', async () => {
  const image = await build('verity', 'built', 'verity = true\ncompression = "lz4hc"');
  const { root, kernel } = image.manifest;
  if (root.filesystem === 'initramfs' || !root.verity) throw new Error('the image has no hash tree');
  expect(root).toMatchObject({ device: 'virtio-blk', compression: 'lz4hc' });
  expect(kernel.arguments.join(' ')).toContain(root.verity.rootHash);
  await expectRuns(image);

  // The size stays, and the time of a file is easily set back: only the guest can tell.
  const path = join(image.folder, root.file);
  const position = 1024 + 8;
  const byte = readFileSync(path).readUInt8(position);
  const fd = openSync(path, 'r+');
  writeSync(fd, Buffer.of(byte ^ 1), 0, 1, position);
  closeSync(fd);
  const directory = join(place.folder, 'vm');
  mkdirSync(directory, { mode: 0o700 });
  const spec = { directory, image: image.folder, memoryBytes: 256 << 20, vcpus: 1, shares: [] };
  const vm = await createQemuDriver({ accel: 'tcg', template: 'off' }).start(spec);
  try {
    await vm.waitExit({ signal: AbortSignal.timeout(30_000) });
    const report = bootReport(directory);
    expect(report).toMatchObject({
      stage: 'root',
      failure: expect.stringMatching(/device-mapper: verity.*corrupted/),
    });
    expect(describeBoot(report)).toContain('device-mapper: verity');
  } finally {
    await vm.stop({ force: true });
  }
});
