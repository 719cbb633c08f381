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

interface Unfinished {
  /** Grows by doubling, so that memory follows the bytes whatever parts they come in. */
  memory: Buffer;
  length: number;
}

/** Puts messages together, by id. Holds at most `maxMessages` unfinished ones of 4 MiB. */
export class MessageAssembler {
  readonly #unfinished = new Map<number, Unfinished>();
  readonly #maxMessages: number;

  constructor(maxMessages: number) {
    this.#maxMessages = maxMessages;
  }

  /**
   * @returns the whole message when this was its last part; it owns its memory
   * @throws RpcError invalid_argument when a message grows too large or too many are unfinished
   */
  add(frame: Frame): Buffer | undefined {
    const more = (frame.flags & MORE) !== 0;
    let message = this.#unfinished.get(frame.id);
    if (message === undefined) {
      if (!more) return Buffer.from(frame.payload);
      if (this.#unfinished.size >= this.#maxMessages)
        throw violation(`more than ${this.#maxMessages} unfinished messages`);
      message = { memory: Buffer.alloc(0), length: 0 };
      this.#unfinished.set(frame.id, message);
    }
    append(message, frame);
    if (more) return undefined;
    this.#unfinished.delete(frame.id);
    return message.memory.subarray(0, message.length);
  }

  forget(id: number): void {
    this.#unfinished.delete(id);
  }

  clear(): void {
    this.#unfinished.clear();
  }
}

function append(message: Unfinished, frame: Frame): void {
  const length = message.length + frame.payload.length;
  if (length > MAX_MESSAGE_BYTES)
    throw violation(`message ${frame.id} is larger than ${MAX_MESSAGE_BYTES} bytes`);
  if (length > message.memory.length) {
    const grown = Buffer.allocUnsafeSlow(Math.min(MAX_MESSAGE_BYTES, 2 * length));
    message.memory.copy(grown, 0, 0, message.length);
    message.memory = grown;
  }
  frame.payload.copy(message.memory, message.length);
  message.length = length;
}
