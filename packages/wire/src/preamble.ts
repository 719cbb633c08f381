/** The preamble: 64 bytes that open a connection (docs/protocol.md, section 1). */
import { MAX_FRAME_BYTES } from './limits.ts';

export const PREAMBLE_BYTES = 64;
export const EPOCH_BYTES = 16;
export const MAGIC = Buffer.from([0xc0, 0xac, 0x1e, 0xff, ...Buffer.from('CORACLE-LINK', 'latin1')]);

/** History: 1, first version. */
export const VERSION_MIN = 1;
export const VERSION_MAX = 1;

export const Role = { client: 1, proxy: 2, agent: 3 } as const;
export type Role = (typeof Role)[keyof typeof Role];

export interface Preamble {
  readonly versionMin: number;
  readonly versionMax: number;
  readonly features: number;
  /** 16 random bytes, fresh for every connection. */
  readonly epoch: Buffer;
  /** The opener's epoch in an answer, zeros from an opener. */
  readonly echo: Buffer;
  readonly role: number;
}

export function encodePreamble(preamble: Preamble): Buffer {
  const bytes = Buffer.alloc(PREAMBLE_BYTES);
  MAGIC.copy(bytes, 0);
  bytes.writeUInt16LE(preamble.versionMin, 16);
  bytes.writeUInt16LE(preamble.versionMax, 18);
  bytes.writeUInt32LE(preamble.features, 20);
  preamble.epoch.copy(bytes, 24, 0, EPOCH_BYTES);
  preamble.echo.copy(bytes, 40, 0, EPOCH_BYTES);
  bytes.writeUInt8(preamble.role, 56);
  return bytes;
}

/** Copies what it returns: a preamble outlives the bytes it came in. */
export function decodePreamble(bytes: Buffer): Preamble {
  return {
    versionMin: bytes.readUInt16LE(16),
    versionMax: bytes.readUInt16LE(18),
    features: bytes.readUInt32LE(20),
    epoch: Buffer.from(bytes.subarray(24, 40)),
    echo: Buffer.from(bytes.subarray(40, 56)),
    role: bytes.readUInt8(56),
  };
}

/** What an opener sends first on a transport with a memory: it completes any frame that was cut there. */
export const FLUSH = Buffer.alloc(MAX_FRAME_BYTES);

/** The highest version both speak, or undefined. */
export function chooseVersion(peer: Preamble): number | undefined {
  const version = Math.min(VERSION_MAX, peer.versionMax);
  return version >= VERSION_MIN && version >= peer.versionMin ? version : undefined;
}
