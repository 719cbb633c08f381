/**
 * Memory for large DATA frames, used again once the transport has taken them. Taking 32 KiB of new memory
 * costs ten times what copying 32 KiB costs, and only a few frames are in transports at a time.
 */
import { HEADER_BYTES, MAX_FRAME_BYTES, TRAILER_BYTES } from './limits.ts';

/** Smaller ones come from Buffer's own pool or are cheap. */
const LEAST_BYTES = 4096;
/** 1 MiB kept at most, for all connections together. */
const MOST_KEPT = 32;

const free: ArrayBuffer[] = [];
/** What the pool has given out. Nothing else is ever taken back, and nothing twice. */
const lent = new WeakSet<ArrayBufferLike>();

/** Like allocateFrame, for a frame that goes to an Outbox and to nobody else. */
export function borrowFrame(payloadBytes: number): Buffer {
  const bytes = HEADER_BYTES + payloadBytes + TRAILER_BYTES;
  if (bytes < LEAST_BYTES) return Buffer.allocUnsafe(bytes);
  const memory = free.pop() ?? Buffer.allocUnsafeSlow(MAX_FRAME_BYTES).buffer;
  lent.add(memory);
  return Buffer.from(memory, 0, bytes);
}

/** Takes a frame back; one that was not borrowed is left alone. */
export function recycleFrame(frame: Buffer): void {
  const memory = frame.buffer as ArrayBuffer;
  if (memory.byteLength !== MAX_FRAME_BYTES || !lent.delete(memory)) return;
  if (free.length < MOST_KEPT) free.push(memory);
}
