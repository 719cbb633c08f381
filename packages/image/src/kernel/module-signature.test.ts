import { expect, test } from 'vitest';
import { withoutSignature } from './module-signature.ts';

const module = Buffer.from('\x7fELF and so on');

/** As scripts/sign-file.c appends it. */
function signed(signature: Buffer, claimedBytes = signature.length): Buffer {
  const trailer = Buffer.alloc(12);
  trailer[2] = 2; // PKEY_ID_PKCS7
  trailer.writeUInt32BE(claimedBytes, 8);
  return Buffer.concat([module, signature, trailer, Buffer.from('~Module signature appended~\n')]);
}

test('cuts off what the kernel build appended, and nothing else', () => {
  expect(withoutSignature(signed(Buffer.alloc(256, 7))).equals(module)).toBe(true);
  expect(withoutSignature(module)).toBe(module);
  expect(withoutSignature(Buffer.alloc(0))).toHaveLength(0);
});

test('a length that cannot be is refused', () => {
  expect(() => withoutSignature(signed(Buffer.alloc(4), 4096))).toThrow(RangeError);
});
