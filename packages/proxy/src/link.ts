/**
 * The proxy's link to one sandbox's agent, and who gets which of the agent's frames. Routing is all the
 * state there is: which client owns which process, and whose request has which number on the link.
 * When the link ends, its clients are told to come again; they bring everything that is needed.
 */
import type { Socket } from 'node:net';
import {
  asRpcError,
  Connection,
  encodeFrame,
  encodeMessage,
  type Frame,
  FrameType,
  frameTypeName,
  MAX_REQUESTS,
  MORE,
  Response,
  Role,
  RpcError,
  StreamKind,
  splitStreamId,
  violation,
} from '@coracle/wire';
import type { DataQueue } from './data-queue.ts';
import type { DialledTransport } from './dial.ts';

/** What a link needs of a client. */
export interface LinkClient {
  link: Link | undefined;
  /** What this client sends: signals and resizes, and everything else. */
  readonly urgent: DataQueue;
  readonly bulk: DataQueue;
  bound(): void;
  forward(frame: Frame): void;
  send(frame: Buffer): void;
  close(reason: RpcError): void;
}

interface RoutedRequest {
  readonly client: LinkClient;
  readonly clientId: number;
}

export class Link {
  readonly sandboxId: string;
  /** Undefined until the transport has been dialled. */
  #connection: Connection | undefined;
  #closed = false;
  readonly #onClosed: (link: Link, reason: RpcError) => void;
  readonly #clients = new Set<LinkClient>();
  /** Process id (4p) → the client that attached last. */
  readonly #owners = new Map<number, LinkClient>();
  /** Request id on the link → whose it is. */
  readonly #requests = new Map<number, RoutedRequest>();
  /** The same the other way round: a client's request id → the id on the link. */
  readonly #linkIds = new Map<LinkClient, Map<number, number>>();
  #lastRequestId = 0;

  /**
   * Greets at once on a transport that is there (a socket may still be connecting), or as soon as it is: clients may
   * be added meanwhile.
   */
  constructor(
    sandboxId: string,
    transport: Socket | Promise<DialledTransport>,
    onClosed: (link: Link, reason: RpcError) => void,
  ) {
    this.sandboxId = sandboxId;
    this.#onClosed = onClosed;
    if (!(transport instanceof Promise)) this.#begin({ socket: transport, flush: true });
    else
      transport.then(
        (dialled) => this.#begin(dialled),
        (error: unknown) => this.#ended(asRpcError(error)),
      );
  }

  #begin({ socket, flush }: DialledTransport): void {
    if (this.#closed) {
      socket.destroy();
      return;
    }
    this.#connection = new Connection(
      socket,
      { role: Role.proxy, opener: true, flush },
      {
        open: () => {
          for (const client of this.#clients) client.bound();
        },
        frame: (frame) => this.#fromAgent(frame),
        closed: (reason) => this.#ended(reason),
      },
    );
    // What has been read while dialling left it paused.
    socket.resume();
  }

  #ended(reason: RpcError): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClosed(this, reason);
  }

  get clients(): ReadonlySet<LinkClient> {
    return this.#clients;
  }

  addClient(client: LinkClient): void {
    client.link = this;
    this.#clients.add(client);
    this.#linkIds.set(client, new Map());
    if (this.#connection?.isOpen) client.bound();
  }

  removeClient(client: LinkClient): void {
    this.#clients.delete(client);
    for (const [process, owner] of this.#owners) if (owner === client) this.#owners.delete(process);
    for (const linkId of this.#linkIds.get(client)?.values() ?? []) {
      this.#requests.delete(linkId);
      this.#connection?.send({ type: FrameType.CANCEL, id: linkId });
    }
    this.#linkIds.delete(client);
    client.link = undefined;
  }

  /** Ends the link; its clients are the caller's to close. */
  close(reason: RpcError): void {
    if (this.#connection === undefined) this.#ended(reason);
    else this.#connection.close(reason);
  }

  request(client: LinkClient, frame: Frame): void {
    const ids = this.#linkIds.get(client) as Map<number, number>;
    let linkId = ids.get(frame.id);
    if (linkId === undefined) {
      if (this.#requests.size >= MAX_REQUESTS) {
        refuseRequest(client, frame);
        return;
      }
      do this.#lastRequestId = this.#lastRequestId >= 0xffff_ffff ? 1 : this.#lastRequestId + 1;
      while (this.#requests.has(this.#lastRequestId));
      linkId = this.#lastRequestId;
      ids.set(frame.id, linkId);
      this.#requests.set(linkId, { client, clientId: frame.id });
    }
    this.#connection?.sendEncoded(withId(frame, linkId));
  }

  cancel(client: LinkClient, clientId: number): void {
    const ids = this.#linkIds.get(client) as Map<number, number>;
    const linkId = ids.get(clientId);
    if (linkId === undefined) return;
    ids.delete(clientId);
    this.#requests.delete(linkId);
    this.#connection?.send({ type: FrameType.CANCEL, id: linkId });
  }

  /** The last client to attach owns the process. */
  attach(client: LinkClient, frame: Frame): void {
    if (splitStreamId(frame.id).kind !== StreamKind.control)
      throw violation(`ATTACH to stream ${frame.id}, which is no process id`);
    const former = this.#owners.get(frame.id);
    if (former !== undefined && former !== client)
      former.send(encodeFrame({ type: FrameType.DETACHED, id: frame.id }));
    this.#owners.set(frame.id, client);
    this.#connection?.sendEncoded(frame.encoded);
  }

  data(client: LinkClient, frame: Frame): void {
    if (!this.#owns(client, frame.id)) return;
    const queue = frame.id % 4 === 0 ? client.urgent : client.bulk;
    queue.push(frame.encoded);
    this.#connection?.schedule(queue);
  }

  control(client: LinkClient, frame: Frame): void {
    if (this.#owns(client, frame.id)) this.#connection?.sendEncoded(frame.encoded);
  }

  #owns(client: LinkClient, streamId: number): boolean {
    return this.#owners.get(splitStreamId(streamId).process * 4) === client;
  }

  #fromAgent(frame: Frame): void {
    if (frame.type === FrameType.RESPONSE) {
      this.#response(frame);
      return;
    }
    if (!streamFrames.has(frame.type)) throw violation(`${frameTypeName(frame.type)} from the agent`);
    // A frame without an owner was sent before its client went away; whoever attaches gets it again.
    this.#owners.get(splitStreamId(frame.id).process * 4)?.forward(frame);
  }

  #response(frame: Frame): void {
    const request = this.#requests.get(frame.id);
    if (request === undefined) return;
    if ((frame.flags & MORE) === 0) {
      this.#requests.delete(frame.id);
      this.#linkIds.get(request.client)?.delete(request.clientId);
    }
    request.client.send(withId(frame, request.clientId));
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

function refuseRequest(client: LinkClient, frame: Frame): void {
  if ((frame.flags & MORE) !== 0) return;
  const error = new RpcError(
    'resource_exhausted',
    `more than ${MAX_REQUESTS} requests wait for this sandbox`,
  );
  const response = Response.encode({
    error: { code: error.number, message: error.reason, cause: '' },
  }).finish();
  for (const bytes of encodeMessage(FrameType.RESPONSE, frame.id, response)) client.send(bytes);
}
