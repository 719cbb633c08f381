/**
 * All dealings with one sandbox: requests and processes over one connection to the proxy, which is made
 * again whenever it is lost and somebody needs it.
 *
 *   idle ──needed──► connecting ──BOUND──► bound
 *     ▲                  │                   │
 *     └──nobody needs it─┴──── lost ─────────┤ somebody needs it → connecting
 *                                            └ final answer, close() → closed
 */
import {
  type AgentMethod,
  type AgentRequest,
  type AgentResponse,
  asRpcError,
  type CallOptions,
  type CodeName,
  type Connection,
  type Frame,
  FrameType,
  frameTypeName,
  Requests,
  RpcError,
  splitStreamId,
  violation,
} from '@coracle/wire';
import { orAbort, sleep } from './abort.ts';
import { Channel, type ChannelOptions, type ProcessHandle } from './channel.ts';
import { type LinkEnd, openLink, type ProxyPlace } from './link.ts';

export interface SessionOptions extends ProxyPlace {
  /** Starts a proxy when nobody listens on `socketPath`. */
  readonly startProxy?: (() => Promise<void>) | undefined;
}

/** A proxy that was killed is back within milliseconds, or somebody has to start it by hand. */
const FIRST_DELAY_MS = 10;
const LAST_DELAY_MS = 500;
/** Broken rules that a new connection does not cure are a fault of the guest or of this program. */
const MAX_VIOLATIONS = 8;

/** GOAWAY with one of these is the proxy's last word about the sandbox. */
const finalCodes: ReadonlySet<CodeName> = new Set([
  'not_found',
  'unavailable',
  'permission_denied',
  'failed_precondition',
  'unauthenticated',
]);

type State =
  | { readonly kind: 'idle' }
  | { readonly kind: 'connecting' }
  | { readonly kind: 'bound'; readonly connection: Connection }
  | { readonly kind: 'closed'; readonly error: RpcError; readonly vmLost: boolean };

export class Session {
  readonly sandboxId: string;
  readonly #options: SessionOptions;
  readonly #requests = new Requests();
  /** By process number: those that still expect something. */
  readonly #channels = new Map<number, Channel>();
  /** Calls that wait for an answer. */
  #calls = 0;
  #state: State = { kind: 'idle' };
  readonly #closing = new AbortController();
  #firstBinding: PromiseWithResolvers<void> | undefined;
  #wasBound = false;
  /** Attempts and connections since the agent was last heard of. */
  #failures = 0;
  #violations = 0;

  constructor(sandboxId: string, options: SessionOptions) {
    this.sandboxId = sandboxId;
    this.#options = options;
  }

  /**
   * Connects and binds. Giving up closes the session.
   * @throws RpcError not_found or unavailable when there is no such sandbox or its VM is gone, unavailable when
   * there is no proxy and no way to start one, permission_denied, cancelled
   */
  async bind(signal?: AbortSignal): Promise<void> {
    this.#firstBinding = Promise.withResolvers();
    this.#firstBinding.promise.catch(() => undefined);
    this.#connectWhenNeeded();
    try {
      await orAbort(this.#firstBinding.promise, signal);
    } catch (error) {
      this.close(asRpcError(error));
      throw error;
    }
  }

  get isClosed(): boolean {
    return this.#state.kind === 'closed';
  }

  /** Set when the session has ended because the VM did. */
  get vmLost(): RpcError | undefined {
    return this.#state.kind === 'closed' && this.#state.vmLost ? this.#state.error : undefined;
  }

  /** @throws RpcError the agent's, cancelled, or why the session has ended */
  async call<M extends AgentMethod>(
    method: M,
    request: AgentRequest<M>,
    options: CallOptions = {},
  ): Promise<AgentResponse<M>> {
    if (this.#state.kind === 'closed') throw this.#state.error;
    this.#calls++;
    try {
      const answer = this.#requests.call(method, request, options);
      this.#connectWhenNeeded();
      return await answer;
    } finally {
      this.#calls--;
    }
  }

  /** Takes a process over; it is attached now and again on every new connection until it has ended. */
  openChannel(handle: ProcessHandle, options: ChannelOptions): Channel {
    const channel = new Channel(handle, options, () => {
      if (this.#channels.get(handle.process) === channel) this.#channels.delete(handle.process);
    });
    const former = this.#channels.get(handle.process);
    former?.fail(new RpcError('aborted', `process ${handle.process} was attached again`));
    if (this.#state.kind === 'closed') {
      channel.fail(this.#state.error, this.#state.vmLost);
      return channel;
    }
    this.#channels.set(handle.process, channel);
    if (this.#state.kind === 'bound') channel.attach(this.#state.connection);
    else this.#connectWhenNeeded();
    return channel;
  }

  /** Ends the connection for good. Processes go on in the guest; what waits here ends with `reason`. */
  close(reason = new RpcError('cancelled', `the connection to sandbox ${this.sandboxId} was closed`)): void {
    this.#end(reason, false);
  }

  #end(error: RpcError, vmLost: boolean): void {
    if (this.#state.kind === 'closed') return;
    const { connection } = { connection: undefined, ...this.#state };
    this.#state = { kind: 'closed', error, vmLost };
    this.#closing.abort(error);
    connection?.close(new RpcError('cancelled', 'the client is done'));
    this.#firstBinding?.reject(error);
    this.#requests.close(error);
    for (const channel of [...this.#channels.values()]) channel.fail(error, vmLost);
  }

  get #needed(): boolean {
    return this.#calls > 0 || this.#channels.size > 0 || !this.#wasBound;
  }

  #connectWhenNeeded(): void {
    if (this.#state.kind !== 'idle' || !this.#needed) return;
    this.#state = { kind: 'connecting' };
    this.#connect().catch((error: unknown) => this.#end(asRpcError(error), false));
  }

  async #connect(): Promise<void> {
    const signal = this.#closing.signal;
    let started = false;
    while (this.#state.kind === 'connecting') {
      // A proxy that has just been started listens: every wait here is one that streams stand still.
      if (this.#failures > 0 && !started) {
        await sleep(Math.min(FIRST_DELAY_MS * 2 ** (this.#failures - 1), LAST_DELAY_MS), signal);
      }
      // Whoever waited has been told that there is no proxy, and no stream is left to go on.
      if (!this.#needed) {
        this.#state = { kind: 'idle' };
        return;
      }
      this.#failures++;
      started = false;
      const attempt = await openLink(
        this.#options,
        this.sandboxId,
        { frame: (frame) => this.#frame(frame), lost: (end) => this.#lost(end) },
        signal,
      );
      if ('connection' in attempt) this.#bound(attempt.connection);
      else if (attempt.by === 'none') started = await this.#startProxy(attempt.error);
      else this.#judge(attempt);
    }
  }

  /**
   * @returns whether one was started; otherwise it is waited for one
   * @throws RpcError when this session was never bound
   */
  async #startProxy(why: RpcError): Promise<boolean> {
    const { startProxy, socketPath } = this.#options;
    if (startProxy === undefined) {
      if (!this.#wasBound) throw why;
      // There was one, and whoever runs it starts it again: systemd, or another client.
      return false;
    }
    try {
      await startProxy();
      return true;
    } catch (cause) {
      const reason = `cannot start a proxy on ${socketPath}: ${asRpcError(cause).reason}`;
      const error = new RpcError('unavailable', reason, { cause });
      if (!this.#wasBound) throw error;
      // Whoever waits for an answer is told, and may ask again. Streams wait: the agent keeps what they need.
      this.#requests.fail(error);
      return false;
    }
  }

  #bound(connection: Connection): void {
    if (this.#state.kind !== 'connecting' || !connection.isOpen) {
      connection.close(new RpcError('cancelled', 'the client is done'));
      return;
    }
    this.#state = { kind: 'bound', connection };
    this.#wasBound = true;
    this.#requests.attach(connection);
    for (const channel of this.#channels.values()) channel.attach(connection);
    this.#firstBinding?.resolve();
  }

  #lost(end: LinkEnd): void {
    if (this.#state.kind === 'bound') {
      this.#state = { kind: 'idle' };
      this.#requests.detach();
      for (const channel of this.#channels.values()) channel.detach();
    }
    // Never at once: a guest that breaks every connection would keep this program busy.
    this.#failures = Math.max(this.#failures, 1);
    this.#judge(end);
    this.#connectWhenNeeded();
  }

  /** Ends the session when the end of a connection is final; otherwise another attempt may follow. */
  #judge({ error, by }: LinkEnd): void {
    this.#violations = error.code === 'invalid_argument' ? this.#violations + 1 : 0;
    if (this.#violations >= MAX_VIOLATIONS) this.#end(error, false);
    else if (by === 'peer' && finalCodes.has(error.code)) {
      // A sandbox that was there and is not found any more has gone with its VM.
      const vmLost = error.code === 'unavailable' || (error.code === 'not_found' && this.#wasBound);
      this.#end(error, vmLost);
    } else if (error.code === 'permission_denied') this.#end(error, false);
  }

  #frame(frame: Frame): void {
    this.#failures = 0;
    if (frame.type === FrameType.RESPONSE) {
      this.#requests.handle(frame);
      return;
    }
    if (!processFrames.has(frame.type)) throw violation(`${frameTypeName(frame.type)} from the proxy`);
    // One that nobody waits for: what was on its way when the process was settled here.
    this.#channels.get(splitStreamId(frame.id).process)?.receive(frame);
  }
}

const processFrames: ReadonlySet<FrameType> = new Set([
  FrameType.DATA,
  FrameType.EOF,
  FrameType.WINDOW,
  FrameType.STOP,
  FrameType.ATTACHED,
  FrameType.REFUSED,
  FrameType.EXIT,
  FrameType.DETACHED,
]);
