/**
 * Digests of payloads that are left out of a capture. Payloads are often one keystroke, so a plain digest would be as
 * good as the payload: anybody could try all 256. Here a key that is never written goes in, and the place in the
 * stream, so that the same keystroke looks different each time (docs/capture.md, "The digest").
 */
import { hash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { writeOffset } from '../frame.ts';

export const DIGEST_BYTES = 8;
const KEY_BYTES = 32;
/** Key, id, offset, length, CRC-32. One block of SHA-256. */
const INPUT_BYTES = KEY_BYTES + 4 + 8 + 4 + 4;

export class Digester {
  readonly #input = Buffer.alloc(INPUT_BYTES);

  constructor(key: Uint8Array = randomBytes(KEY_BYTES)) {
    this.#input.set(key.subarray(0, KEY_BYTES), 0);
  }

  /** @returns 8 bytes and more, of which the first 8 are the digest */
  digest(id: number, offset: number, payload: Uint8Array): Buffer {
    const input = this.#input;
    input.writeUInt32LE(id, KEY_BYTES);
    writeOffset(input, offset, KEY_BYTES + 4);
    input.writeUInt32LE(payload.length, KEY_BYTES + 12);
    // All of a large payload through SHA-256 would cost as much as switching it; the key keeps the CRC secret.
    input.writeUInt32LE(crc32(payload), KEY_BYTES + 16);
    return hash('sha256', input, 'buffer');
  }
}
