/**
 * The RAM of a saved VM as a sparse file: each byte at its own address, pages that hold only zeros left out. So it can be
 * mapped as it is, and copied without the holes.
 */
import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs';

/** Offset and length in bytes, whole pages, in order. */
export type Extent = readonly [offset: number, length: number];

const PAGE_BYTES = 4096;
const CHUNK_BYTES = 1 << 20;
const chunk = Buffer.allocUnsafeSlow(CHUNK_BYTES);
const zeros = Buffer.alloc(CHUNK_BYTES);

/** Writes what is not zero of `from` to a new file. @returns where it is */
export function saveMemory(from: number, sizeBytes: number, path: string): Extent[] {
  const to = openSync(path, 'wx', 0o600);
  try {
    const extents = findExtents(from, sizeBytes);
    copyMemory(from, to, sizeBytes, extents);
    fsyncSync(to);
    return extents;
  } finally {
    closeSync(to);
  }
}

function findExtents(fd: number, sizeBytes: number): Extent[] {
  const extents: [offset: number, length: number][] = [];
  for (let at = 0; at < sizeBytes; at += CHUNK_BYTES) {
    const piece = readFully(fd, at, Math.min(CHUNK_BYTES, sizeBytes - at));
    if (isZero(piece)) continue;
    for (let page = 0; page < piece.length; page += PAGE_BYTES) {
      if (isZero(piece.subarray(page, page + PAGE_BYTES))) continue;
      const last = extents.at(-1);
      if (last !== undefined && last[0] + last[1] === at + page) last[1] += PAGE_BYTES;
      else extents.push([at + page, PAGE_BYTES]);
    }
  }
  return extents;
}

const isZero = (bytes: Buffer): boolean => bytes.equals(zeros.subarray(0, bytes.length));

/** Makes of `to` a file of that size with the extents' bytes. */
export function copyMemory(from: number, to: number, sizeBytes: number, extents: readonly Extent[]): void {
  ftruncateSync(to, sizeBytes);
  for (const extent of extents) forEachPiece(from, extent, (piece, offset) => writeFully(to, piece, offset));
}

/** SHA-256 of the extents and their bytes. @throws Error for a file that ends before them */
export function memoryDigest(path: string, extents: readonly Extent[]): string {
  const hash = createHash('sha256').update(JSON.stringify(extents));
  const fd = openSync(path, 'r');
  try {
    for (const extent of extents) forEachPiece(fd, extent, (piece) => hash.update(piece));
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

function forEachPiece(
  fd: number,
  [offset, length]: Extent,
  use: (piece: Buffer, offset: number) => void,
): void {
  for (let done = 0; done < length; done += CHUNK_BYTES)
    use(readFully(fd, offset + done, Math.min(CHUNK_BYTES, length - done)), offset + done);
}

/** Into one buffer that all calls share. */
function readFully(fd: number, offset: number, length: number): Buffer {
  for (let filled = 0; filled < length; ) {
    const count = readSync(fd, chunk, filled, length - filled, offset + filled);
    if (count === 0) throw new Error(`it ends at ${offset + filled}`);
    filled += count;
  }
  return chunk.subarray(0, length);
}

function writeFully(fd: number, bytes: Buffer, offset: number): void {
  for (let written = 0; written < bytes.length; )
    written += writeSync(fd, bytes, written, bytes.length - written, offset + written);
}
