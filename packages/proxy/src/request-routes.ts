/**
 * Whose request has which number on the link. An entry stays until the agent has answered, also when nobody waits any
 * more: what is on its way to the agent, and what the agent has to do, is counted whole.
 */
import {
  encodeMessage,
  type Frame,
  FrameType,
  MAX_LINK_REQUESTS,
  MAX_MESSAGE_BYTES,
  MAX_REQUESTS,
  MAX_UNFINISHED_BYTES,
  MORE,
  Response,
  RpcError,
  violation,
} from '@coracle/wire';
import type { Distribution } from './counters.ts';
import type { LinkClient } from './link-client.ts';

/** One client may have half of what the agent holds for all. */
const MAX_CLIENT_UNFINISHED_BYTES = MAX_UNFINISHED_BYTES / 2;

export interface RoutedRequest {
  readonly linkId: number;
  readonly clientId: number;
  /** Of the client that made it. */
  readonly requests: ClientRequests;
  /** Undefined when nobody waits for the answer any more. */
  client: LinkClient | undefined;
  /** It has several parts: they take turns with data, so that it holds up nobody's signals. */
  readonly large: boolean;
  readonly startMs: number;
  bytes: number;
  complete: boolean;
  /** The agent is not to have it: what still comes is dropped, and the last part answered with this. */
  refused: RpcError | undefined;
  answerBytes: number;
}

interface ClientRequests {
  readonly byId: Map<number, RoutedRequest>;
  /** Of those that are not complete and go to the agent. */
  unfinishedBytes: number;
  /** Cancelled and not yet answered by the agent: they count, or one client could use up what all may have. */
  cancelled: number;
}

export class RequestRoutes {
  readonly #byLinkId = new Map<number, RoutedRequest>();
  readonly #byClient = new Map<LinkClient, ClientRequests>();
  readonly #onGivenUp: (client: LinkClient, route: RoutedRequest) => void;
  readonly #durations: Distribution;
  #lastLinkId = 0;

  /** `onGivenUp` is told of a request of which parts were sent, and that is refused now: the agent is to forget it. */
  constructor(onGivenUp: (client: LinkClient, route: RoutedRequest) => void, durations: Distribution) {
    this.#onGivenUp = onGivenUp;
    this.#durations = durations;
  }

  /**
   * A part of a request has come.
   * @returns its route when the part is to go to the agent
   * @throws RpcError invalid_argument when it breaks the rules
   */
  part(client: LinkClient, frame: Frame): RoutedRequest | undefined {
    const requests = this.#requestsOf(client);
    const more = (frame.flags & MORE) !== 0;
    const route = requests.byId.get(frame.id) ?? this.#begin(client, requests, frame.id, more);
    if (route.complete) throw violation(`request id ${frame.id} is in use`);
    route.bytes += frame.payload.length;
    if (route.bytes > MAX_MESSAGE_BYTES)
      throw violation(`request ${frame.id} is larger than ${MAX_MESSAGE_BYTES} bytes`);
    route.complete = !more;
    if (route.refused === undefined) {
      requests.unfinishedBytes += frame.payload.length;
      if (route.complete) requests.unfinishedBytes -= route.bytes;
      else if (requests.unfinishedBytes > MAX_CLIENT_UNFINISHED_BYTES) this.#giveUp(client, requests, route);
    } else if (route.complete) {
      requests.byId.delete(frame.id);
      answer(client, frame.id, route.refused);
    }
    return route.refused === undefined ? route : undefined;
  }

  #giveUp(client: LinkClient, requests: ClientRequests, route: RoutedRequest): void {
    requests.unfinishedBytes -= route.bytes;
    route.client = undefined;
    route.refused = new RpcError(
      'resource_exhausted',
      `more than ${MAX_CLIENT_UNFINISHED_BYTES} bytes of unfinished requests`,
    );
    this.#onGivenUp(client, route);
  }

  /** CANCEL of a client. @returns what the agent is to be told to cancel */
  cancel(client: LinkClient, clientId: number): RoutedRequest | undefined {
    const requests = this.#requestsOf(client);
    const route = requests.byId.get(clientId);
    if (route === undefined) return undefined;
    requests.byId.delete(clientId);
    if (route.refused === undefined && !route.complete) requests.unfinishedBytes -= route.bytes;
    route.client = undefined;
    if (route.refused !== undefined) return undefined;
    requests.cancelled++;
    return route;
  }

  /** @returns what the agent is to be told to cancel */
  removeClient(client: LinkClient): RoutedRequest[] {
    const routes = [...this.#requestsOf(client).byId.values()];
    this.#byClient.delete(client);
    for (const route of routes) route.client = undefined;
    return routes.filter(({ refused }) => refused === undefined);
  }

  /**
   * A part of an answer has come.
   * @returns whose it is, undefined when nobody waits for it
   * @throws RpcError invalid_argument when it breaks the rules
   */
  answerPart(frame: Frame): RoutedRequest | undefined {
    const route = this.#byLinkId.get(frame.id);
    if (route === undefined) return undefined;
    route.answerBytes += frame.payload.length;
    if (route.answerBytes > MAX_MESSAGE_BYTES)
      throw violation(`RESPONSE ${frame.id} is larger than ${MAX_MESSAGE_BYTES} bytes`);
    if ((frame.flags & MORE) === 0) {
      this.#byLinkId.delete(frame.id);
      this.#durations.add((performance.now() - route.startMs) / 1000);
      // Nobody waits: it was cancelled, given up, or its client has gone, whose count is of no use any more.
      if (route.client === undefined && route.refused === undefined) route.requests.cancelled--;
      this.#answered(route);
    }
    return route;
  }

  #answered(route: RoutedRequest): void {
    const requests = route.client && this.#byClient.get(route.client);
    if (requests === undefined) return;
    if (route.complete) requests.byId.delete(route.clientId);
    else {
      // Answered before it was asked: what still comes of it must not be taken for another request.
      requests.unfinishedBytes -= route.bytes;
      route.refused = new RpcError('aborted', 'the request was answered before it was complete');
    }
  }

  #begin(client: LinkClient, requests: ClientRequests, clientId: number, large: boolean): RoutedRequest {
    if (requests.byId.size >= MAX_REQUESTS) throw violation(`more than ${MAX_REQUESTS} requests at a time`);
    // Judged at the first part: one whose beginning was not sent must not be sent at all.
    const refused =
      requests.byId.size + requests.cancelled >= MAX_REQUESTS
        ? new RpcError(
            'resource_exhausted',
            `more than ${MAX_REQUESTS} requests, with those cancelled just now`,
          )
        : this.#byLinkId.size >= MAX_LINK_REQUESTS
          ? new RpcError(
              'resource_exhausted',
              `more than ${MAX_LINK_REQUESTS} requests wait for this sandbox`,
            )
          : undefined;
    const linkId = this.#newLinkId();
    const progress = { bytes: 0, complete: false, answerBytes: 0, startMs: performance.now() };
    const route: RoutedRequest = { linkId, clientId, requests, client, large, refused, ...progress };
    requests.byId.set(clientId, route);
    if (refused === undefined) this.#byLinkId.set(linkId, route);
    return route;
  }

  #requestsOf(client: LinkClient): ClientRequests {
    let requests = this.#byClient.get(client);
    if (requests === undefined) {
      requests = { byId: new Map(), unfinishedBytes: 0, cancelled: 0 };
      this.#byClient.set(client, requests);
    }
    return requests;
  }

  /** For a request whose answer nobody waits for. */
  unclaimedId(): number {
    return this.#newLinkId();
  }

  #newLinkId(): number {
    do this.#lastLinkId = this.#lastLinkId >= 0xffff_ffff ? 1 : this.#lastLinkId + 1;
    while (this.#byLinkId.has(this.#lastLinkId));
    return this.#lastLinkId;
  }
}

function answer(client: LinkClient, id: number, error: RpcError): void {
  const response = Response.encode({
    error: { code: error.number, message: error.reason, cause: '' },
  }).finish();
  for (const bytes of encodeMessage(FrameType.RESPONSE, id, response)) client.send(bytes);
}
