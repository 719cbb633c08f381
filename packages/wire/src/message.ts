/** Messages of REQUEST and RESPONSE: cut into frames with MORE, and put together again. */
import { RpcError, violation } from './errors.ts';
import { encodeFrame, type Frame, type FrameType, MORE } from './frame.ts';
import { MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES } from './limits.ts';

/** @throws RpcError resource_exhausted for a message above 4 MiB */
export function encodeMessage(
  type: typeof FrameType.REQUEST | typeof FrameType.RESPONSE,
  id: number,
  message: Uint8Array,
): Buffer[] {
  if (message.length > MAX_MESSAGE_BYTES) {
    throw new RpcError(
      'resource_exhausted',
      `a message of ${message.length} bytes, at most ${MAX_MESSAGE_BYTES} are allowed`,
    );
  }
  const frames: Buffer[] = [];
  let at = 0;
  do {
    const payload = message.subarray(at, at + MAX_PAYLOAD_BYTES);
    at += payload.length;
    frames.push(encodeFrame({ type, id, flags: at < message.length ? MORE : 0, payload }));
  } while (at < message.length);
  return frames;
}

/** Puts messages together, by id. Holds at most `maxMessages` unfinished ones of 4 MiB. */
export class MessageAssembler {
  readonly #parts = new Map<number, { bytes: number; parts: Buffer[] }>();
  readonly #maxMessages: number;

  constructor(maxMessages: number) {
    this.#maxMessages = maxMessages;
  }

  /**
   * @returns the whole message when this was its last part; it owns its memory
   * @throws RpcError invalid_argument when a message grows too large or too many are unfinished
   */
  add(frame: Frame): Buffer | undefined {
    const begun = this.#parts.get(frame.id);
    const more = (frame.flags & MORE) !== 0;
    if (begun === undefined && !more) return Buffer.from(frame.payload);
    const entry = begun ?? { bytes: 0, parts: [] };
    entry.bytes += frame.payload.length;
    if (entry.bytes > MAX_MESSAGE_BYTES)
      throw violation(`message ${frame.id} is larger than ${MAX_MESSAGE_BYTES} bytes`);
    entry.parts.push(Buffer.from(frame.payload));
    if (more) {
      if (begun === undefined) {
        if (this.#parts.size >= this.#maxMessages)
          throw violation(`more than ${this.#maxMessages} unfinished messages`);
        this.#parts.set(frame.id, entry);
      }
      return undefined;
    }
    this.#parts.delete(frame.id);
    return Buffer.concat(entry.parts, entry.bytes);
  }

  forget(id: number): void {
    this.#parts.delete(id);
  }

  clear(): void {
    this.#parts.clear();
  }
}
