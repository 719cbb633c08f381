import { expect, test } from 'vitest';
import { parseGuestLink } from './link-guest.ts';

test.each([
  [undefined, { kind: 'virtio-serial' }],
  ['virtio-serial', { kind: 'virtio-serial' }],
  ['vsock:1024', { kind: 'vsock', port: 1024 }],
  ['hybrid:1', { kind: 'hybrid', port: 1 }],
  ['hybrid-listen:52', { kind: 'hybrid-listen', port: 52 }],
])('coracle.link=%s', (word, link) => {
  expect(parseGuestLink(word)).toEqual(link);
});

test.each(['', 'vsock', 'vsock:', 'vsock:-1', 'vsock:4294967295', 'tcp:1', 'vsock:3:1024'])(
  'coracle.link=%s is refused by name',
  (word) => {
    expect(() => parseGuestLink(word)).toThrow(
      `coracle.link=${word} on the kernel's command line is no link`,
    );
  },
);
