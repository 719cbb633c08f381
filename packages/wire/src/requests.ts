/**
 * The asking side of requests: it outlives connections. A request stays here until it is answered; when a
 * connection is replaced, all that are unanswered are sent again with their idempotency keys.
 */
import { randomUUID } from 'node:crypto';
import { type AgentMethod, type AgentRequest, type AgentResponse, agentMethods } from './agent-service.ts';
import type { Connection } from './connection.ts';
import { asRpcError, codeName, isRpcError, RpcError } from './errors.ts';
import { type Frame, FrameType } from './frame.ts';
import { Request, Response } from './gen/coracle/v1/link.ts';
import { MAX_REQUESTS, MAX_TIMER_MS } from './limits.ts';
import { MessageAssembler, sendMessage } from './message.ts';

export interface CallOptions {
  /** Aborting rejects with `cancelled`; a request that changes something may still take effect. */
  readonly signal?: AbortSignal;
  /** Milliseconds until `deadline_exceeded`; none by default. */
  readonly timeoutMs?: number;
}

interface Pending {
  readonly request: { method: string; payload: Uint8Array; idempotencyKey: string };
  readonly deadlineAt: number | undefined;
  /** Sends CANCEL on the present connection, if it was sent there. */
  cancel: () => void;
  settle(result: Buffer | RpcError): void;
}

export class Requests {
  readonly #pending = new Map<number, Pending>();
  readonly #assembler = new MessageAssembler(MAX_REQUESTS);
  #connection: Connection | undefined;
  #closed: RpcError | undefined;
  #lastId = 0;

  /**
   * Calls a method of the agent and waits for its answer, over as many connections as it takes.
   * @throws RpcError the agent's, `cancelled`, `deadline_exceeded`, or the reason given to `close`
   */
  async call<M extends AgentMethod>(
    method: M,
    request: AgentRequest<M>,
    options: CallOptions = {},
  ): Promise<AgentResponse<M>> {
    const definition = agentMethods[method];
    // The generated codecs are matched to the method by name; TypeScript can't see that they belong together.
    const payload = (definition.requestType as { encode(m: unknown): { finish(): Uint8Array } })
      .encode(request)
      .finish();
    const answer = await this.#send(definition.name, payload, options);
    try {
      return (definition.responseType as unknown as { decode(b: Uint8Array): AgentResponse<M> }).decode(
        answer,
      );
    } catch (error) {
      throw new RpcError('internal', `the agent's answer to ${definition.name} can't be decoded`, {
        cause: error,
      });
    }
  }

  /** A connection is open: everything unanswered goes out on it. */
  attach(connection: Connection): void {
    this.#connection = connection;
    this.#assembler.clear();
    for (const [id, pending] of this.#pending) this.#transmit(id, pending);
  }

  detach(): void {
    this.#connection = undefined;
    this.#assembler.clear();
    for (const pending of this.#pending.values()) pending.cancel = () => undefined;
  }

  /** A RESPONSE frame has come. @throws RpcError invalid_argument when it breaks the rules */
  handle(frame: Frame): void {
    const pending = this.#pending.get(frame.id);
    // Nobody waits for it any more: the call was aborted. No memory is taken for it either.
    if (pending === undefined) return;
    try {
      const bytes = this.#assembler.add(frame);
      if (bytes !== undefined) pending.settle(bytes);
    } catch (error) {
      if (!isRpcError(error) || error.code !== 'resource_exhausted') throw error;
      pending.settle(error);
    }
  }

  /** Nothing will be answered any more: all calls, now and later, fail with `reason`. */
  close(reason: RpcError): void {
    this.#closed ??= reason;
    this.fail(reason);
  }

  /** What waits for an answer now fails with `reason`; later calls are another matter. */
  fail(reason: RpcError): void {
    for (const pending of [...this.#pending.values()]) pending.settle(reason);
  }

  #send(method: string, payload: Uint8Array, options: CallOptions): Promise<Buffer> {
    return new Promise<Buffer>((resolve, reject) => {
      if (this.#closed) return reject(this.#closed);
      if (options.signal?.aborted) return reject(asRpcError(options.signal.reason, 'cancelled'));
      // More would end the connection, and all calls with it, again and again.
      if (this.#pending.size >= MAX_REQUESTS) {
        return reject(
          new RpcError(
            'resource_exhausted',
            `${method} can't be sent: ${MAX_REQUESTS} requests wait for this sandbox already`,
          ),
        );
      }
      const id = this.#newId();
      let timer: NodeJS.Timeout | undefined;
      const giveUp = (error: RpcError): void => {
        pending.cancel();
        pending.settle(error);
      };
      const onAbort = (): void => giveUp(asRpcError(options.signal?.reason, 'cancelled'));
      const pending: Pending = {
        request: { method, payload, idempotencyKey: randomUUID() },
        deadlineAt: options.timeoutMs === undefined ? undefined : performance.now() + options.timeoutMs,
        cancel: () => undefined,
        settle: (result) => {
          this.#pending.delete(id);
          this.#assembler.forget(id);
          clearTimeout(timer);
          options.signal?.removeEventListener('abort', onAbort);
          if (Buffer.isBuffer(result)) settleWith(result, resolve, reject);
          else reject(result);
        },
      };
      if (options.timeoutMs !== undefined) {
        timer = setTimeout(
          () =>
            giveUp(
              new RpcError('deadline_exceeded', `${method} was not answered within ${options.timeoutMs} ms`),
            ),
          Math.min(options.timeoutMs, MAX_TIMER_MS),
        );
      }
      options.signal?.addEventListener('abort', onAbort, { once: true });
      this.#pending.set(id, pending);
      this.#transmit(id, pending);
    });
  }

  #transmit(id: number, pending: Pending): void {
    if (!this.#connection?.isOpen) return;
    const leftMs = pending.deadlineAt === undefined ? 0 : pending.deadlineAt - performance.now();
    const timeoutMs =
      pending.deadlineAt === undefined ? 0 : Math.min(MAX_TIMER_MS, Math.max(1, Math.ceil(leftMs)));
    try {
      const message = Request.encode({ ...pending.request, timeoutMs }).finish();
      pending.cancel = sendMessage(this.#connection, FrameType.REQUEST, id, message);
    } catch (error) {
      pending.settle(asRpcError(error));
    }
  }

  #newId(): number {
    do this.#lastId = this.#lastId >= 0xffff_ffff ? 1 : this.#lastId + 1;
    while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }
}

function settleWith(
  bytes: Buffer,
  resolve: (value: Buffer) => void,
  reject: (error: RpcError) => void,
): void {
  let response: Response;
  try {
    response = Response.decode(bytes);
  } catch (error) {
    reject(new RpcError('internal', 'the answer is no Response message', { cause: error }));
    return;
  }
  if (response.error) {
    const { code, message, cause } = response.error;
    reject(new RpcError(codeName(code), message, cause === '' ? {} : { cause }));
  } else resolve(Buffer.from(response.payload ?? []));
}
