import { expect, test } from 'vitest';
import { chooseCid, decideTransport, isCidTaken, type VhostVsock } from './transport.ts';

// No host that these tests run on has the device; what it answers is given here, what is asked is in packages/sys.
const works: VhostVsock = { check: () => undefined, isFree: () => true };
const fails = (code: string): VhostVsock => ({
  ...works,
  check() {
    throw Object.assign(new Error(`open failed (${code})`), { code });
  },
});

const image = { directory: '/images/base', transports: ['virtio-serial', 'vsock'] };

test('auto takes vsock where the device answers, and says so', () => {
  expect(decideTransport('auto', image, works)).toEqual({
    transport: 'vsock',
    reason: '/dev/vhost-vsock answers',
  });
});

test.each([
  ['ENOENT', /^this host has no \/dev\/vhost-vsock$/, /modprobe vhost_vsock/],
  ['ENODEV', /^\/dev\/vhost-vsock does not work: open failed/, /modprobe vhost_vsock/],
  ['EACCES', /^\/dev\/vhost-vsock does not work: open failed/, /Run as root/],
])('auto falls back to virtio-serial on %s, and says why', (code, reason, remedy) => {
  expect(decideTransport('auto', image, fails(code))).toEqual({
    transport: 'virtio-serial',
    reason: expect.stringMatching(reason),
    remedy: expect.stringMatching(remedy),
  });
});

test('auto leaves vsock where VMs are started from templates, unless it is demanded', () => {
  expect(decideTransport('auto', image, works, true)).toMatchObject({
    transport: 'virtio-serial',
    reason: expect.stringContaining('templates'),
  });
  expect(decideTransport('vsock', image, works, true).transport).toBe('vsock');
});

test('vsock that is demanded and not there is an error that says what to do', () => {
  expect(() => decideTransport('vsock', image, fails('ENOENT'))).toThrow(
    expect.objectContaining({
      code: 'vsock-unusable',
      message: expect.stringContaining('vsock was asked for, but this host has no /dev/vhost-vsock'),
      remedy: expect.stringContaining('CORACLE_TRANSPORT=auto'),
    }),
  );
});

test('an image without the driver is not given a vsock', () => {
  const old = { directory: '/images/old', transports: ['virtio-serial'] };
  expect(decideTransport('auto', old, works)).toMatchObject({
    transport: 'virtio-serial',
    reason: 'the kernel of the guest image /images/old has no vsock',
  });
  expect(() => decideTransport('vsock', old, works)).toThrow(/has no vsock.*make image/s);
});

test('virtio-serial asks the device nothing', () => {
  expect(decideTransport('virtio-serial', image, fails('ENOENT')).transport).toBe('virtio-serial');
});

test('this host answers one way or the other', () => {
  expect(['virtio-serial', 'vsock']).toContain(decideTransport('auto', image).transport);
});

test('a CID that is taken is passed over, and 16 in a row are an error', () => {
  const asked: number[] = [];
  const isFree = (cid: number) => asked.push(cid) > 3;
  expect(chooseCid({ ...works, isFree })).toBe(asked[3]);
  for (const cid of asked) expect(cid).toBeGreaterThanOrEqual(3);
  expect(() => chooseCid({ ...works, isFree: () => false })).toThrow(
    expect.objectContaining({ code: 'vsock-unusable' }),
  );
});

test("QEMU's words for a CID that was taken meanwhile", () => {
  const says =
    'qemu-system-x86_64: -device vhost-vsock-pci,guest-cid=7: vhost-vsock: unable to set guest cid: ';
  expect(isCidTaken(`${says}Address already in use`)).toBe(true);
  expect(isCidTaken(`${says}Invalid argument`)).toBe(false);
});
