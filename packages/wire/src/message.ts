/** Messages of REQUEST and RESPONSE: cut into frames with MORE, and put together again. */
import { RpcError, violation } from './errors.ts';
import { encodeFrame, type Frame, FrameType, MORE } from './frame.ts';
import { MAX_MESSAGE_BYTES, MAX_PAYLOAD_BYTES, MAX_UNFINISHED_BYTES } from './limits.ts';
import type { FrameSource } from './outbox.ts';

type MessageType = typeof FrameType.REQUEST | typeof FrameType.RESPONSE;

/** @throws RpcError resource_exhausted for a message above 4 MiB */
export function encodeMessage(type: MessageType, id: number, message: Uint8Array): Buffer[] {
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

/** A connection, as far as messages need one. */
export interface MessageCarrier {
  sendEncoded(frame: Buffer): void;
  schedule(source: FrameSource): void;
}

/**
 * Sends a message. One frame is control; the parts of a larger one take turns with data: 4 MiB that overtake would
 * hold up every stream and every signal behind them.
 * @returns how to send CANCEL for it: behind its parts, of which the rest does not leave any more
 * @throws RpcError resource_exhausted for a message above 4 MiB
 */
export function sendMessage(
  carrier: MessageCarrier,
  type: MessageType,
  id: number,
  message: Uint8Array,
): () => void {
  const frames = encodeMessage(type, id, message);
  const cancel = encodeFrame({ type: FrameType.CANCEL, id });
  if (frames.length === 1) {
    carrier.sendEncoded(frames[0] as Buffer);
    return () => carrier.sendEncoded(cancel);
  }
  let next = 0;
  const source: FrameSource = { urgent: false, pull: () => frames[next++] };
  carrier.schedule(source);
  return () => {
    // Never a last part behind a CANCEL: it would be taken for a message of its own.
    frames.splice(next, frames.length, cancel);
    next = Math.min(next, frames.length - 1);
    carrier.schedule(source);
  };
}

interface Unfinished {
  /** Grows by doubling, so that memory follows the bytes whatever parts they come in. */
  memory: Buffer;
  length: number;
  /** There was no room for it: its parts are counted and thrown away. */
  dropped: boolean;
}

const NONE = Buffer.alloc(0);

/** Puts messages together, by id: at most `maxMessages` unfinished ones, of `maxBytes` in all. */
export class MessageAssembler {
  readonly #unfinished = new Map<number, Unfinished>();
  readonly #maxMessages: number;
  readonly #maxBytes: number;
  #bytes = 0;

  constructor(maxMessages: number, maxBytes = MAX_UNFINISHED_BYTES) {
    this.#maxMessages = maxMessages;
    this.#maxBytes = maxBytes;
  }

  /** Bytes of all unfinished messages. */
  get bytes(): number {
    return this.#bytes;
  }

  /**
   * @returns the whole message when this was its last part; it owns its memory
   * @throws RpcError invalid_argument when a message grows too large or too many are unfinished;
   * resource_exhausted at the last part of one for which there was no room: the connection may go on
   */
  add(frame: Frame): Buffer | undefined {
    const more = (frame.flags & MORE) !== 0;
    let message = this.#unfinished.get(frame.id);
    if (message === undefined) {
      if (!more) return Buffer.from(frame.payload);
      if (this.#unfinished.size >= this.#maxMessages)
        throw violation(`more than ${this.#maxMessages} unfinished messages`);
      message = { memory: NONE, length: 0, dropped: false };
      this.#unfinished.set(frame.id, message);
    }
    this.#append(message, frame);
    if (more) return undefined;
    this.forget(frame.id);
    if (message.dropped)
      throw new RpcError('resource_exhausted', `more than ${this.#maxBytes} bytes of unfinished messages`);
    return message.memory.subarray(0, message.length);
  }

  forget(id: number): void {
    const message = this.#unfinished.get(id);
    if (message === undefined) return;
    this.#unfinished.delete(id);
    if (!message.dropped) this.#bytes -= message.length;
  }

  clear(): void {
    this.#unfinished.clear();
    this.#bytes = 0;
  }

  #append(message: Unfinished, frame: Frame): void {
    const length = message.length + frame.payload.length;
    if (length > MAX_MESSAGE_BYTES)
      throw violation(`message ${frame.id} is larger than ${MAX_MESSAGE_BYTES} bytes`);
    if (!message.dropped && this.#bytes + frame.payload.length > this.#maxBytes) {
      this.#bytes -= message.length;
      message.dropped = true;
      message.memory = NONE;
    }
    if (!message.dropped) {
      this.#bytes += frame.payload.length;
      append(message, frame.payload);
    }
    message.length = length;
  }
}

function append(message: Unfinished, payload: Buffer): void {
  const length = message.length + payload.length;
  if (length > message.memory.length) {
    const grown = Buffer.allocUnsafeSlow(Math.min(MAX_MESSAGE_BYTES, 2 * length));
    message.memory.copy(grown, 0, 0, message.length);
    message.memory = grown;
  }
  payload.copy(message.memory, message.length);
}
