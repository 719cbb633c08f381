/**
 * Control messages out of their frames. In a capture without payloads a message in several frames is redacted in the
 * first one; with payloads the parts are put together, as far as they fit into a bound.
 */
import {
  agentMethods,
  type ErrorMessage,
  FrameType,
  MAX_MESSAGE_BYTES,
  MAX_UNFINISHED_BYTES,
  MORE,
  Request,
  Response,
} from '@coracle/wire';
import type { RecordView } from '../read/record-view.ts';

export interface RequestMessage {
  readonly kind: 'request';
  readonly method: string;
  readonly idempotencyKey: string;
  readonly timeoutMs: number;
  /** The method's own message; undefined for a method that is not known or a message that can't be read. */
  readonly body: Readonly<Record<string, unknown>> | undefined;
  /** The message's bytes, for who decodes by another schema. */
  readonly payload: Uint8Array;
  /** All of it was seen; false at the first of several frames. */
  readonly complete: boolean;
}

export interface ResponseMessage {
  readonly kind: 'response';
  /** Of its request; '' when that was not seen. */
  readonly method: string;
  readonly error: ErrorMessage | undefined;
  readonly body: Readonly<Record<string, unknown>> | undefined;
  readonly payload: Uint8Array;
  readonly complete: boolean;
}

export type ControlMessage = RequestMessage | ResponseMessage;

interface Codec {
  decode(bytes: Uint8Array): unknown;
}

const codecs: ReadonlyMap<string, { readonly requestType: Codec; readonly responseType: Codec }> = new Map(
  Object.values(agentMethods).map((method) => [method.name, method]),
);
const MAX_WAITING = 4096;

/** Messages of one sandbox. */
export class Messages {
  readonly #parts = new Map<string, Buffer[]>();
  #partBytes = 0;
  readonly #methods = new Map<string, string>();

  /** @returns the message that this REQUEST or RESPONSE frame makes known */
  take(record: RecordView): ControlMessage | undefined {
    const request = record.type === FrameType.REQUEST;
    const more = (record.frameFlags & MORE) !== 0;
    const key = `${record.connection} ${record.id}`;
    const partKey = `${request} ${key}`;
    const parts = this.#parts.get(partKey);
    if (parts === undefined) {
      if (more) this.#keep(partKey, record.redacted ? undefined : record.payload);
      if (more && !record.redacted) return undefined;
      return this.#read(request, key, record.payload, !more);
    }
    this.#add(parts, record.payload);
    if (more) return undefined;
    this.#parts.delete(partKey);
    this.#partBytes -= parts.reduce((sum, part) => sum + part.length, 0);
    // Its first part has told already.
    if (parts.length === 0 || record.redacted) return request ? undefined : this.#end(key);
    return this.#read(request, key, Buffer.concat(parts), true);
  }

  /** A connection has ended: what it still waited for never comes. */
  forget(connection: number): void {
    for (const map of [this.#methods, this.#parts]) {
      for (const key of map.keys())
        if (key.startsWith(`${connection} `) || key.includes(`e ${connection} `)) map.delete(key);
    }
  }

  /** An answer in several frames, of which the first has told: nothing is left to wait for. */
  #end(key: string): undefined {
    this.#methods.delete(key);
    return undefined;
  }

  #keep(key: string, payload: Buffer | undefined): void {
    if (this.#parts.size >= MAX_WAITING) return;
    const parts: Buffer[] = [];
    this.#parts.set(key, parts);
    if (payload !== undefined) this.#add(parts, payload);
  }

  #add(parts: Buffer[], payload: Buffer): void {
    const bytes = parts.reduce((sum, part) => sum + part.length, 0) + payload.length;
    if (bytes > MAX_MESSAGE_BYTES || this.#partBytes + payload.length > MAX_UNFINISHED_BYTES) return;
    parts.push(Buffer.from(payload));
    this.#partBytes += payload.length;
  }

  #read(request: boolean, key: string, bytes: Buffer, complete: boolean): ControlMessage {
    if (request) {
      const message = readRequest(bytes, complete);
      if (this.#methods.size < MAX_WAITING) this.#methods.set(key, message.method);
      return message;
    }
    const method = this.#methods.get(key) ?? '';
    if (complete) this.#methods.delete(key);
    return readResponse(bytes, method, complete);
  }
}

function readRequest(bytes: Buffer, complete: boolean): RequestMessage {
  const request = attempt(() => Request.decode(bytes)) ?? Request.fromPartial({});
  const codec = codecs.get(request.method)?.requestType;
  const body = attempt(() => codec?.decode(request.payload) as Record<string, unknown> | undefined);
  const { method, idempotencyKey, timeoutMs, payload } = request;
  return { kind: 'request', method, idempotencyKey, timeoutMs, body, payload, complete };
}

function readResponse(bytes: Buffer, method: string, complete: boolean): ResponseMessage {
  const response = attempt(() => Response.decode(bytes));
  const payload = response?.payload ?? new Uint8Array();
  const codec = response?.error === undefined ? codecs.get(method)?.responseType : undefined;
  const body = attempt(() => codec?.decode(payload) as Record<string, unknown> | undefined);
  return { kind: 'response', method, error: response?.error, body, payload, complete };
}

function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}
