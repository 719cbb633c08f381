/**
 * The proxy's link to one sandbox's agent, and who gets which of the agent's frames. Routing is all the
 * state there is: which client owns which process, and whose request has which number on the link.
 * When the link ends, its clients are told to come again; they bring everything that is needed.
 */
import type { Duplex } from 'node:stream';
import {
  type AgentMethod,
  type AgentRequest,
  agentMethods,
  asRpcError,
  Connection,
  Direction,
  encodeFrame,
  encodeMessage,
  type Frame,
  FrameType,
  frameTypeName,
  MORE,
  RecordFlag,
  Request,
  Role,
  RpcError,
  StreamKind,
  splitStreamId,
  violation,
} from '@coracle/wire';
import { Attachments } from './attachments.ts';
import { QueueBudget } from './budget.ts';
import { Counters } from './counters.ts';
import { DataQueue } from './data-queue.ts';
import type { DialledTransport } from './dial.ts';
import { ASK_AGAIN_AT_FIRST_MS, ASK_AGAIN_AT_LAST_MS, MAX_SANDBOX_QUEUE_BYTES } from './limits.ts';
import type { LinkClient } from './link-client.ts';
import { RecentFrames } from './recent-frames.ts';
import { RequestRoutes, type RoutedRequest } from './request-routes.ts';
import { StreamWatch } from './stream-watch.ts';
import type { LinkTap } from './taps.ts';

export class Link {
  readonly sandboxId: string;
  /** While somebody captures this sandbox. */
  tap: LinkTap | undefined;
  /** Undefined until the transport has been dialled. */
  #connection: Connection | undefined;
  #closed = false;
  /** Dials again; undefined for a transport that was given. */
  readonly #dial: (() => Promise<DialledTransport>) | undefined;
  #askAgainMs = ASK_AGAIN_AT_FIRST_MS;
  readonly #onClosed: (link: Link, reason: RpcError) => void;
  /** What waits for all clients of this sandbox. */
  readonly outbound = new QueueBudget(MAX_SANDBOX_QUEUE_BYTES, "this sandbox's clients", () => this.#clients);
  readonly #clients = new Set<LinkClient>();
  readonly #attachments = new Attachments();
  readonly #requests: RequestRoutes;
  readonly #counters: Counters;
  /** For /metrics and /links. */
  readonly watch: StreamWatch;
  readonly recent = new RecentFrames();
  /** The proxy's own frames. CANCEL for those who have gone is behind a part of theirs that is about to be sent. */
  readonly #own = new DataQueue('control', () => undefined);

  /**
   * Greets at once on a transport that is there (a socket may still be connecting), or as soon as it is dialled:
   * clients may be added meanwhile.
   */
  constructor(
    sandboxId: string,
    transport: Duplex | (() => Promise<DialledTransport>),
    onClosed: (link: Link, reason: RpcError) => void,
    tap?: LinkTap,
    counters = new Counters(),
  ) {
    this.#counters = counters;
    this.watch = new StreamWatch(counters);
    this.#requests = new RequestRoutes(
      (client, route) => this.#cancelBehind(client, route),
      counters.requests,
    );
    this.sandboxId = sandboxId;
    this.tap = tap;
    this.#onClosed = onClosed;
    if (typeof transport !== 'function') this.#begin({ socket: transport, flush: true });
    else {
      this.#dial = transport;
      this.#begins();
    }
  }

  #begins(): void {
    this.tap?.event('link_opening');
    this.#dial?.().then(
      (dialled) => this.#begin(dialled),
      (error: unknown) => this.#ended(asRpcError(error)),
    );
  }

  #begin({ socket, flush }: DialledTransport): void {
    if (this.#closed) {
      socket.destroy();
      return;
    }
    const connection: Connection = new Connection(
      socket,
      { role: Role.proxy, opener: true, flush },
      {
        open: () => {
          this.tap?.event('link_open');
          this.#counters.linksOpened++;
          for (const client of this.#clients) client.bound();
        },
        frame: (frame) => this.#fromAgent(frame),
        closed: (reason) => {
          if (this.#connection === connection) this.#ended(reason);
        },
      },
    );
    this.#connection = connection;
    // What has been read while dialling left it paused.
    socket.resume();
    if (flush) this.#askAgain(connection, socket);
  }

  /**
   * QEMU's end of a virtio-serial port may stay throttled for a host that came after another one, and a port that
   * the guest opens again loses what was queued: then no answer ever comes, and connecting anew is what mends it.
   * It costs a guest that boots or is paused nothing, and says nothing about it (docs/protocol.md, "No answer").
   */
  #askAgain(connection: Connection, socket: Duplex): void {
    if (this.#dial === undefined) return;
    const timer = setTimeout(() => {
      if (this.#connection !== connection || this.#closed || connection.isOpen) return;
      const reason = new RpcError('cancelled', 'nobody waits for this link any more');
      if (this.#clients.size === 0) {
        connection.close(reason);
        return;
      }
      this.#askAgainMs = Math.min(2 * this.#askAgainMs, ASK_AGAIN_AT_LAST_MS);
      this.#connection = undefined;
      this.#counters.linksDialledAgain++;
      connection.close(reason);
      // What it still wanted to send is not to be waited for.
      socket.destroy();
      this.#begins();
    }, this.#askAgainMs);
    timer.unref();
    socket.once('close', () => clearTimeout(timer));
  }

  #ended(reason: RpcError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.watch.close();
    this.tap?.event('link_closed', 0, { code: reason.number, text: reason.reason });
    this.#onClosed(this, reason);
  }

  get clients(): ReadonlySet<LinkClient> {
    return this.#clients;
  }

  /** The agent has answered the preamble. */
  get isOpen(): boolean {
    return this.#connection?.isOpen ?? false;
  }

  /** Of processes to which somebody is attached: how far their streams are. */
  tellStreams(tap: LinkTap): void {
    for (const { id, ...state } of this.watch.describe()) {
      const owner = this.#attachments.owner(id - (id % 4));
      // An exited process's input is nobody's any more.
      const over = owner?.exited && (id % 4 < 2 || state.delivered >= state.sent);
      if (owner === undefined || over) continue;
      tap.event('stream_state', owner.client.number, { value: id, text: JSON.stringify(state) });
    }
  }

  addClient(client: LinkClient): void {
    client.link = this;
    this.#clients.add(client);
    if (this.#connection?.isOpen) client.bound();
  }

  removeClient(client: LinkClient): void {
    this.#clients.delete(client);
    client.link = undefined;
    // Whoever takes its place says everything again.
    for (const queue of [client.control, client.urgent, client.bulk]) queue.clear();
    this.#attachments.removeClient(client);
    for (const route of this.#requests.removeClient(client)) {
      const cancel = encodeFrame({ type: FrameType.CANCEL, id: route.clientId });
      this.tap?.frame(Direction.toAgent, client.number, cancel, RecordFlag.OWN);
      this.#own.push(cancelOf(route));
    }
    this.#connection?.schedule(this.#own);
    // A guest that never listens must not be dialled for ever.
    if (this.#connection === undefined && this.#clients.size === 0)
      this.#ended(new RpcError('cancelled', 'nobody waits for this link any more'));
  }

  /** Ends the link; its clients are the caller's to close. */
  close(reason: RpcError): void {
    if (this.#connection === undefined) this.#ended(reason);
    else this.#connection.close(reason);
  }

  /** A request of the proxy's own, whose answer nobody waits for: it is dropped as one that was cancelled. */
  tell<M extends AgentMethod>(method: M, message: AgentRequest<M>): void {
    if (!this.isOpen) return;
    const { name, requestType } = agentMethods[method];
    const encode = requestType.encode as (message: AgentRequest<M>) => { finish(): Uint8Array };
    const request = { method: name, payload: encode(message).finish(), idempotencyKey: '' };
    const bytes = Request.encode(Request.fromPartial(request)).finish();
    for (const part of encodeMessage(FrameType.REQUEST, this.#requests.unclaimedId(), bytes)) {
      this.tap?.frame(Direction.toAgent, 0, part, RecordFlag.OWN);
      this.#own.push(part);
    }
    this.#connection?.schedule(this.#own);
  }

  request(client: LinkClient, frame: Frame): void {
    this.#toAgent(client, frame);
    // Before its id becomes the link's.
    this.tap?.frame(Direction.toAgent, client.number, frame.encoded);
    const route = this.#requests.part(client, frame);
    if (route) this.#push(route.large ? client.bulk : client.control, withId(frame, route.linkId));
  }

  cancel(client: LinkClient, frame: Frame): void {
    this.#toAgent(client, frame);
    this.tap?.frame(Direction.toAgent, client.number, frame.encoded);
    const route = this.#requests.cancel(client, frame.id);
    if (route) this.#cancelBehind(client, route);
  }

  /** CANCEL must not overtake the parts of its request. */
  #cancelBehind(client: LinkClient, route: RoutedRequest): void {
    this.#push(route.large ? client.bulk : client.control, cancelOf(route));
  }

  attach(client: LinkClient, frame: Frame): void {
    this.#toAgent(client, frame);
    this.tap?.frame(Direction.toAgent, client.number, frame.encoded);
    if (splitStreamId(frame.id).kind !== StreamKind.control)
      throw violation(`ATTACH to stream ${frame.id}, which is no process id`);
    if (frame.generation === 0) throw violation('ATTACH with generation 0');
    if (!this.#attachments.begin(client, frame)) return;
    this.watch.take(frame);
    this.#push(client.control, frame.encoded);
  }

  data(client: LinkClient, frame: Frame): void {
    if (!this.#allows(client, frame)) return;
    this.#push(frame.id % 4 === 0 ? client.urgent : client.bulk, frame.encoded);
  }

  control(client: LinkClient, frame: Frame): void {
    if (this.#allows(client, frame)) this.#push(client.control, frame.encoded);
  }

  #toAgent(client: LinkClient, frame: Frame): void {
    this.#counters.toAgent.take(frame);
    this.recent.add(Direction.toAgent, client.number, frame, frame.id);
  }

  #push(queue: DataQueue, frame: Buffer): void {
    queue.push(frame);
    this.#connection?.schedule(queue);
  }

  #allows(client: LinkClient, frame: Frame): boolean {
    const allowed = this.#attachments.allows(client, splitStreamId(frame.id).process * 4, frame.generation);
    this.tap?.frame(Direction.toAgent, client.number, frame.encoded, allowed ? 0 : RecordFlag.UNOWNED);
    this.#toAgent(client, frame);
    if (allowed) this.watch.take(frame);
    return allowed;
  }

  #fromAgent(frame: Frame): void {
    this.#counters.toClient.take(frame);
    if (frame.type === FrameType.RESPONSE) {
      const route = this.#requests.answerPart(frame);
      this.recent.add(Direction.toClient, route?.client?.number ?? 0, frame, route?.clientId ?? frame.id);
      if (route?.client === undefined) {
        this.tap?.frame(Direction.toClient, 0, frame.encoded, RecordFlag.UNOWNED);
        return;
      }
      withId(frame, route.clientId);
      this.tap?.frame(Direction.toClient, route.client.number, frame.encoded);
      route.client.forward(frame, (frame.flags & MORE) !== 0 || route.answerBytes > frame.payload.length);
      return;
    }
    if (!streamFrames.has(frame.type)) {
      this.tap?.frame(Direction.toClient, 0, frame.encoded, RecordFlag.UNOWNED);
      throw violation(`${frameTypeName(frame.type)} from the agent`);
    }
    // A frame without an owner was sent before its client went away; whoever attaches gets it again.
    const processId = splitStreamId(frame.id).process * 4;
    const client = this.#attachments.receiver(frame, processId);
    if (this.tap !== undefined) {
      const flags = client === undefined ? RecordFlag.UNOWNED : 0;
      this.tap.frame(Direction.toClient, client?.number ?? 0, frame.encoded, flags);
    }
    this.recent.add(Direction.toClient, client?.number ?? 0, frame, frame.id);
    if (client === undefined) return;
    this.watch.take(frame);
    client.forward(frame, frame.type === FrameType.DATA);
  }
}

const streamFrames: ReadonlySet<FrameType> = new Set([
  FrameType.DATA,
  FrameType.EOF,
  FrameType.WINDOW,
  FrameType.STOP,
  FrameType.ATTACHED,
  FrameType.REFUSED,
  FrameType.EXIT,
]);

/** The frame's own bytes with another id: they are forwarded once, so they may be changed in place. */
function withId(frame: Frame, id: number): Buffer {
  frame.encoded.writeUInt32LE(id, 8);
  return frame.encoded;
}

function cancelOf(route: RoutedRequest): Buffer {
  return encodeFrame({ type: FrameType.CANCEL, id: route.linkId });
}
