import { createHash } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { VmSpec } from './driver.ts';
import { findOwned } from './identity.ts';
import { createQemuDriver, type QemuDriverOptions } from './qemu.ts';
import { writeRecord } from './record.ts';
import { temporaryFolder } from './testing.ts';

// Starts that fail before a guest runs; those that need a kernel are in test/vm/boot.test.ts.

const content = Buffer.alloc(500);
const described = { sizeBytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
const manifest = {
  kernel: { file: 'vmlinuz', arguments: [], filesystems: [], transports: ['virtio-serial', 'vsock'] },
  initrd: 'initrd.img',
  root: { filesystem: 'erofs', file: 'rootfs.erofs', device: 'virtio-blk', verity: null },
  files: { vmlinuz: described, 'initrd.img': described, 'rootfs.erofs': described },
};

function fixture() {
  const folder = temporaryFolder();
  const image = join(folder, 'image');
  const directory = join(folder, 'vm');
  mkdirSync(image);
  mkdirSync(directory, { mode: 0o700 });
  for (const name of ['vmlinuz', 'initrd.img', 'rootfs.erofs']) writeFileSync(join(image, name), content);
  writeFileSync(join(image, 'manifest.json'), JSON.stringify(manifest));
  const spec: VmSpec = { directory, image, memoryBytes: 128 << 20, vcpus: 1, shares: [] };
  return { folder, image, directory, spec };
}

const tcg: QemuDriverOptions = { accel: 'tcg' };
const share = { tag: 'pod', binds: [{ name: 'web/rootfs', source: '/usr' }] };

test('QEMU is not installed', async () => {
  const { spec, directory } = fixture();
  const driver = createQemuDriver({ ...tcg, qemu: '/nowhere/qemu' });
  await expect(driver.start(spec)).rejects.toMatchObject({
    code: 'qemu-missing',
    message: expect.stringContaining('/nowhere/qemu'),
    remedy: expect.stringContaining('apt-get install qemu-system-x86'),
  });
  expect(readdirSync(directory)).toEqual([]);
});

test('the image is not built', async () => {
  const { spec, folder } = fixture();
  await expect(createQemuDriver(tcg).start({ ...spec, image: join(folder, 'none') })).rejects.toMatchObject({
    code: 'image-missing',
    remedy: expect.stringContaining('make image'),
  });
});

test('the manifest is broken', async () => {
  const { spec, image } = fixture();
  writeFileSync(join(image, 'manifest.json'), '{');
  await expect(createQemuDriver(tcg).start(spec)).rejects.toMatchObject({ code: 'image-invalid' });
});

test('neither virtiofsd nor 9p', async () => {
  const { spec } = fixture();
  const driver = createQemuDriver({ ...tcg, virtiofsd: '/nowhere/virtiofsd' });
  await expect(driver.start({ ...spec, shares: [share] })).rejects.toMatchObject({
    code: 'virtiofsd-missing',
    remedy: expect.stringContaining('qemu-system-common'),
  });
});

test('more memory than the host has', async () => {
  const { spec } = fixture();
  await expect(createQemuDriver(tcg).start({ ...spec, memoryBytes: 2 ** 50 })).rejects.toMatchObject({
    code: 'no-memory',
  });
});

test('a kernel that is none: QEMU says so, and nothing stays, the share neither', async () => {
  const { spec, directory } = fixture();
  await expect(createQemuDriver(tcg).start({ ...spec, shares: [share] })).rejects.toMatchObject({
    name: 'VmStartError',
    code: 'start-failed',
    message: expect.stringMatching(
      /QEMU ended at its start with code 1[\s\S]*stage reached: none[\s\S]*kernel/,
    ),
    remedy: expect.stringContaining('kernel in the image is damaged'),
  });
  expect(readdirSync(directory)).toEqual([]);
  expect(findOwned(directory)).toEqual([]);
});

test('a virtiofsd that fails is shown with its own words', async () => {
  const { spec, folder, directory } = fixture();
  const virtiofsd = join(folder, 'virtiofsd');
  writeFileSync(virtiofsd, '#!/bin/sh\necho no such luck >&2\nexit 3\n', { mode: 0o755 });
  const starting = createQemuDriver({ ...tcg, virtiofsd }).start({ ...spec, shares: [share] });
  await expect(starting).rejects.toThrow(
    'virtiofsd for the share pod ended at its start with code 3: no such luck',
  );
  expect(readdirSync(directory)).toEqual([]);
});

test('a source that is missing stops the start and leaves nothing', async () => {
  const { spec, directory } = fixture();
  const missing = { tag: 'pod', binds: [{ name: 'a', source: '/nowhere/rootfs' }] };
  await expect(createQemuDriver(tcg).start({ ...spec, shares: [missing] })).rejects.toMatchObject({
    code: 'bad-spec',
    message: expect.stringContaining('/nowhere/rootfs'),
  });
  expect(readdirSync(directory)).toEqual([]);
});

test('an aborted start rejects with the reason', async () => {
  const { spec, directory } = fixture();
  const reason = new Error('enough');
  await expect(createQemuDriver(tcg).start(spec, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  const virtiofsd = '/usr/bin/yes'; // runs, and never listens
  const controller = new AbortController();
  const starting = createQemuDriver({ ...tcg, virtiofsd }).start(
    { ...spec, shares: [share] },
    { signal: controller.signal },
  );
  setImmediate(() => controller.abort(reason));
  await expect(starting).rejects.toBe(reason);
  expect(readdirSync(directory)).toEqual([]);
  expect(findOwned(directory)).toEqual([]);
});

test('vsock that this host has not is refused before anything starts', async () => {
  const { spec, directory } = fixture();
  const vhost = {
    check() {
      throw Object.assign(new Error('no such file'), { code: 'ENOENT' });
    },
    isFree: () => true,
  };
  const driver = createQemuDriver({ ...tcg, transport: 'vsock', vhost });
  await expect(driver.start(spec)).rejects.toMatchObject({ code: 'vsock-unusable' });
  expect(readdirSync(directory)).toEqual([]);
});

// Between the choice of a CID and QEMU's start another VM may take it; QEMU then ends with these words.
test('a CID that somebody has snatched is tried again with another, three times', async () => {
  const { spec, folder, directory } = fixture();
  const qemu = join(folder, 'qemu');
  const tries = join(folder, 'tries');
  const words = 'vhost-vsock: unable to set guest cid: Address already in use';
  writeFileSync(qemu, `#!/bin/sh\necho "$*" >>${tries}\necho ${words} >&2\nexit 1\n`, { mode: 0o755 });
  const vhost = { check: () => undefined, isFree: () => true };
  const decisions: string[] = [];
  const driver = createQemuDriver({ ...tcg, qemu, vhost, template: 'off' });
  await expect(
    driver.start(spec, { onDecision: (message) => decisions.push(message) }),
  ).rejects.toMatchObject({ code: 'start-failed', message: expect.stringContaining(words) });
  const cids = readFileSync(tries, 'utf8').match(/guest-cid=\d+/g);
  expect(cids).toHaveLength(3);
  expect(new Set(cids).size).toBe(3);
  expect(decisions).toEqual([
    'accelerator tcg: emulation was asked for',
    'transport vsock: /dev/vhost-vsock answers',
  ]);
  expect(readdirSync(directory)).toEqual([]);
});

test('a folder that has a VM gets no second one', async () => {
  const { spec, directory } = fixture();
  writeRecord(directory, {
    version: 1,
    driver: 'qemu',
    state: 'running',
    createdAt: '',
    shares: [],
    helpers: {},
  });
  await expect(createQemuDriver(tcg).start(spec)).rejects.toMatchObject({ code: 'already-started' });
  expect(readdirSync(directory)).toEqual(['vm.json']);
});
