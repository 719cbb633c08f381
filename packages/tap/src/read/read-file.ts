/** Reads a capture file of any size, in memory of one size. */
import { type FileHandle, open } from 'node:fs/promises';
import { TapError } from '../errors.ts';
import { CaptureReader, MAX_BLOCK_BYTES, type ReaderEvents } from './capture-reader.ts';

/** A whole block always fits, and reads stay large. */
const BUFFER_BYTES = 2 * MAX_BLOCK_BYTES;

export interface ReadOptions {
  readonly signal?: AbortSignal;
  /** Called after each piece of the file; what it returns is waited for. */
  readonly between?: () => Promise<void> | undefined;
}

/**
 * @param path `-` is stdin
 * @returns the reader, for what it has counted
 * @throws TapError not-found, not-a-capture; the signal's reason
 */
export async function readCapture(
  path: string,
  events: ReaderEvents,
  { signal, between }: ReadOptions = {},
): Promise<CaptureReader> {
  const reader = new CaptureReader(events);
  const buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  const file = await openCapture(path);
  try {
    let filled = 0;
    let first = true;
    for (;;) {
      signal?.throwIfAborted();
      const { bytesRead } = await read(file, buffer, filled, path);
      filled += bytesRead;
      if (first) checkMagic(buffer.subarray(0, filled), path);
      first = false;
      const taken = reader.push(buffer.subarray(0, filled), bytesRead === 0);
      if (bytesRead === 0) return reader;
      buffer.copyWithin(0, taken, filled);
      filled -= taken;
      const wait = between?.();
      if (wait !== undefined) await wait;
    }
  } finally {
    await file.close();
  }
}

async function openCapture(path: string): Promise<FileHandle> {
  try {
    return await open(path === '-' ? '/dev/stdin' : path, 'r');
  } catch (cause) {
    throw new TapError('not-found', `cannot open the capture ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

async function read(file: FileHandle, buffer: Buffer, at: number, path: string) {
  try {
    return await file.read(buffer, at, buffer.length - at, null);
  } catch (cause) {
    throw new TapError('not-found', `cannot read the capture ${path}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** A file of another kind is no damaged capture: looking for blocks in it would only be noise. */
function checkMagic(start: Buffer, path: string): void {
  const magic = start.length >= 4 ? start.readUInt32LE(0) : 0;
  if (magic === 0x0a0d0d0a) return;
  const kind = kinds.get(magic) ?? (start.length === 0 ? 'it is empty' : undefined);
  // Its beginning may be what is damaged.
  if (kind === undefined && start.includes(Buffer.from([0x0a, 0x0d, 0x0d, 0x0a]))) return;
  if (kind === undefined && start.includes(Buffer.from([0x4d, 0x3c, 0x2b, 0x1a]))) return;
  throw new TapError(
    'not-a-capture',
    `${path} is no capture in pcapng: ${kind ?? 'it begins with something else'}`,
  );
}

const kinds: ReadonlyMap<number, string> = new Map([
  [0xa1b2c3d4, 'it is in the older pcap format'],
  [0xa1b23c4d, 'it is in the older pcap format'],
  [0xd4c3b2a1, 'it is in the older pcap format'],
  [0xfd2fb528, 'it is compressed; use zstd -d'],
]);
