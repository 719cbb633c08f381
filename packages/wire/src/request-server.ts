/**
 * The answering side of requests, in the agent: it runs each idempotency key once, remembers the last
 * results, and answers on whichever connection asked last (docs/protocol.md, section 6).
 */
import { type AgentHandlers, type AgentMethod, agentMethods } from './agent-service.ts';
import type { Connection } from './connection.ts';
import { asRpcError, isRpcError, RpcError, violation } from './errors.ts';
import { type Frame, FrameType } from './frame.ts';
import { Request, Response } from './gen/coracle/v1/link.ts';
import {
  MAX_KEY_BYTES,
  MAX_LINK_REQUESTS,
  MAX_MESSAGE_BYTES,
  MAX_RUNNING_CALLS,
  MAX_TIMER_MS,
  REMEMBERED_BYTES,
  REMEMBERED_CALLS,
} from './limits.ts';
import { MessageAssembler, sendMessage } from './message.ts';

const methodsByName = new Map<string, AgentMethod>(
  Object.entries(agentMethods).map(([key, method]) => [method.name, key as AgentMethod]),
);

/** Methods that only wait, and may be abandoned. All others run to their end once they have begun. */
const waitingMethods: ReadonlySet<string> = new Set([
  agentMethods.waitProcess.name,
  agentMethods.waitOutOfMemory.name,
]);

/** One call that runs or has run. Several requests may wait for it: repetitions after a lost connection. */
interface Call {
  readonly result: Promise<Uint8Array>;
  readonly abort: AbortController;
  readonly abandonable: boolean;
  waiting: number;
  finished: boolean;
  /** Of the result. */
  bytes: number;
}

export class RequestServer {
  readonly #handlers: AgentHandlers;
  readonly #assembler = new MessageAssembler(MAX_LINK_REQUESTS);
  readonly #calls = new Map<string, Call>();
  /** Requests of the present connection that are not answered, with how to stop waiting. */
  readonly #waiting = new Map<number, () => void>();
  readonly #maxRememberedBytes: number;
  /** Of all results in `#calls`. */
  #rememberedBytes = 0;
  /** Methods under way, those that nobody waits for included. */
  #running = 0;
  #connection: Connection | undefined;

  /** @param rememberedBytes of results, which may be asked for again */
  constructor(handlers: AgentHandlers, rememberedBytes = REMEMBERED_BYTES) {
    this.#handlers = handlers;
    this.#maxRememberedBytes = rememberedBytes;
  }

  /** A new epoch: answers to requests of the old one are not sent; they will be asked again. */
  attach(connection: Connection): void {
    this.detach();
    this.#connection = connection;
  }

  detach(): void {
    this.#connection = undefined;
    this.#assembler.clear();
    for (const stop of [...this.#waiting.values()]) stop();
    this.#waiting.clear();
  }

  /** A REQUEST or CANCEL frame has come. @throws RpcError invalid_argument when it breaks the rules */
  handle(frame: Frame): void {
    if (frame.type === FrameType.CANCEL) {
      this.#assembler.forget(frame.id);
      this.#waiting.get(frame.id)?.();
      // The proxy counts a request until it is answered.
      this.#refuse(frame.id, new RpcError('cancelled', 'the request was cancelled'));
      return;
    }
    let bytes: Buffer | undefined;
    try {
      bytes = this.#assembler.add(frame);
    } catch (error) {
      if (!isRpcError(error) || error.code !== 'resource_exhausted') throw error;
      this.#refuse(frame.id, error);
    }
    if (bytes === undefined) return;
    if (this.#waiting.has(frame.id)) throw violation(`request id ${frame.id} is in use`);
    if (this.#waiting.size >= MAX_LINK_REQUESTS)
      throw violation(`more than ${MAX_LINK_REQUESTS} requests at a time`);
    let request: Request;
    try {
      request = Request.decode(bytes);
      if (request.idempotencyKey.length > MAX_KEY_BYTES) throw new Error('its idempotency key is too long');
    } catch (error) {
      // The proxy forwards what it can't read. One client's mistake is answered and does not end the link of all.
      const refusal = new RpcError('invalid_argument', `request ${frame.id} is no valid Request message`, {
        cause: error,
      });
      this.#refuse(frame.id, refusal);
      return;
    }
    this.#answer(frame.id, request);
  }

  #answer(id: number, request: Request): void {
    const connection = this.#connection;
    const call = this.#callFor(request);
    call.waiting++;
    let timer: NodeJS.Timeout | undefined;
    let over = false;
    const stop = (): void => {
      if (over) return;
      over = true;
      clearTimeout(timer);
      this.#waiting.delete(id);
      if (--call.waiting > 0 || !call.abandonable || call.finished) return;
      // What it is about to answer, that it was aborted, is not the result of this key.
      if (this.#calls.get(request.idempotencyKey) === call) this.#calls.delete(request.idempotencyKey);
      call.abort.abort();
    };
    const reply = (response: Uint8Array): void => {
      if (over) return;
      stop();
      this.#respond(connection, id, response);
    };
    this.#waiting.set(id, stop);
    if (request.timeoutMs > 0) {
      timer = setTimeout(
        () => {
          reply(
            encodeError(
              new RpcError(
                'deadline_exceeded',
                `${request.method.slice(0, 64)} took longer than ${request.timeoutMs} ms`,
              ),
            ),
          );
        },
        Math.min(request.timeoutMs, MAX_TIMER_MS),
      );
    }
    call.result.then(reply);
  }

  #callFor(request: Request): Call {
    const known = this.#calls.get(request.idempotencyKey);
    if (known !== undefined) return known;
    const abort = new AbortController();
    const call: Call = {
      abort,
      abandonable: waitingMethods.has(request.method),
      waiting: 0,
      finished: false,
      bytes: 0,
      result: this.#runCounted(request, abort.signal)
        .catch((error: unknown) => encodeError(asRpcError(error)))
        .then((response) => {
          const result =
            response.length > MAX_MESSAGE_BYTES ? tooLarge(request.method.slice(0, 64), response) : response;
          call.finished = true;
          call.bytes = result.length;
          if (this.#calls.get(request.idempotencyKey) === call) {
            this.#rememberedBytes += result.length;
            this.#forgetOldCalls();
          }
          return result;
        }),
    };
    if (request.idempotencyKey !== '') {
      this.#calls.set(request.idempotencyKey, call);
      this.#forgetOldCalls();
    }
    return call;
  }

  /** As `#run`, counted. */
  async #runCounted(request: Request, signal: AbortSignal): Promise<Uint8Array> {
    if (this.#running >= MAX_RUNNING_CALLS)
      throw new RpcError('resource_exhausted', `this agent runs ${MAX_RUNNING_CALLS} requests already`);
    this.#running++;
    try {
      return await this.#run(request, signal);
    } finally {
      this.#running--;
    }
  }

  async #run(request: Request, signal: AbortSignal): Promise<Uint8Array> {
    const method = methodsByName.get(request.method);
    if (method === undefined) {
      throw new RpcError(
        'unimplemented',
        `this agent has no method ${JSON.stringify(request.method.slice(0, 64))}`,
      );
    }
    const definition = agentMethods[method];
    let message: unknown;
    try {
      message = definition.requestType.decode(request.payload);
    } catch (error) {
      throw new RpcError('invalid_argument', `the payload of ${request.method} can't be decoded`, {
        cause: error,
      });
    }
    const handler = this.#handlers[method] as (m: unknown, c: { signal: AbortSignal }) => Promise<unknown>;
    const answer = await handler(message, { signal });
    const payload = (definition.responseType as { encode(m: unknown): { finish(): Uint8Array } })
      .encode(answer)
      .finish();
    return Response.encode({ payload: Buffer.from(payload) }).finish();
  }

  /** Who repeats a request from now on has it carried out anew. */
  forgetAnswers(): void {
    for (const [key, call] of this.#calls) if (call.finished) this.#forget(key, call);
  }

  #forgetOldCalls(): void {
    for (const [key, call] of this.#calls) {
      if (this.#calls.size <= REMEMBERED_CALLS && this.#rememberedBytes <= this.#maxRememberedBytes) return;
      if (call.finished) this.#forget(key, call);
    }
  }

  #forget(key: string, call: Call): void {
    this.#calls.delete(key);
    this.#rememberedBytes -= call.bytes;
  }

  #respond(connection: Connection | undefined, id: number, response: Uint8Array): void {
    if (connection) sendMessage(connection, FrameType.RESPONSE, id, response);
  }

  #refuse(id: number, error: RpcError): void {
    this.#respond(this.#connection, id, encodeError(error));
  }
}

function encodeError(error: RpcError): Uint8Array {
  const cause =
    error.cause instanceof Error ? error.cause.message : typeof error.cause === 'string' ? error.cause : '';
  return Response.encode({ error: { code: error.number, message: error.reason, cause } }).finish();
}

function tooLarge(method: string, response: Uint8Array): Uint8Array {
  return encodeError(
    new RpcError(
      'resource_exhausted',
      `the answer to ${method} has ${response.length} bytes, at most ${MAX_MESSAGE_BYTES} can be sent`,
    ),
  );
}
