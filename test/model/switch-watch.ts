/**
 * What passes the proxy, watched frame by frame: nobody sends beyond the credit that was granted, nobody grants more
 * than its window, and an agent speaks only of attachments that were made on the present link. Bytes that break this
 * may still arrive in order, so the ends alone would not show it.
 */
import {
  decodeAttach,
  decodeAttached,
  decodeWindow,
  type Frame,
  FrameType,
  MAX_FRAME_BYTES,
} from '@coracle/wire';
import { vi } from 'vitest';
import { Attachments } from '../../packages/proxy/src/attachments.ts';
import {
  MAX_CLIENT_QUEUE_BYTES,
  MAX_INBOUND_BYTES,
  MAX_INBOUND_CONTROL_BYTES,
  MAX_SANDBOX_QUEUE_BYTES,
} from '../../packages/proxy/src/limits.ts';
import { Link } from '../../packages/proxy/src/link.ts';
import type { LinkClient } from '../../packages/proxy/src/link-client.ts';

/** What arrives at the proxy of one client at a time: it stops reading between two of these. */
export const ARRIVAL_BYTES = 4096;
/** The agent's for a control stream: docs/protocol.md, section 3. */
const CONTROL_WINDOW_BYTES = 1024;

const names = ['control', 'stdin', 'stdout', 'stderr'];

/** One ATTACH: its link, and by stream how far the sender may go. */
interface Watched {
  readonly link: Attachments;
  readonly limits: number[];
}

export class SwitchWatch {
  readonly faults: string[] = [];
  /** By stream: the window of its receiver. */
  readonly #windows: readonly number[];
  readonly #watched = new Map<string, Watched>();
  #links = new Set<Link>();

  constructor(clientWindowBytes: number, agentWindowBytes: number) {
    this.#windows = [CONTROL_WINDOW_BYTES, agentWindowBytes, clientWindowBytes, clientWindowBytes];
    present = this;
  }

  /** The proxy was killed; what it holds is nobody's any more. */
  proxyGone(): void {
    this.#links = new Set();
  }

  linkUsed(link: Link): void {
    this.#links.add(link);
  }

  attach(link: Attachments, frame: Frame): void {
    const watched = { link, limits: [0, 0, 0, 0] };
    this.#watched.set(keyOf(frame), watched);
    const { stdout, stderr } = decodeAttach(frame.payload);
    this.#grant(watched, 2, stdout.delivered, stdout.limit);
    this.#grant(watched, 3, stderr.delivered, stderr.limit);
  }

  fromClient(frame: Frame): void {
    const watched = this.#watched.get(keyOf(frame));
    if (watched !== undefined) this.#streamFrame(watched, frame);
  }

  fromAgent(link: Attachments, frame: Frame): void {
    const watched = this.#watched.get(keyOf(frame));
    if (watched?.link !== link) {
      this.faults.push('the agent speaks of an attachment that was not made on this link');
      return;
    }
    if (frame.type === FrameType.ATTACHED) {
      const { stdin, control } = decodeAttached(frame.payload);
      this.#grant(watched, 0, control.delivered, control.limit);
      this.#grant(watched, 1, stdin.delivered, stdin.limit);
    } else this.#streamFrame(watched, frame);
  }

  #streamFrame(watched: Watched, frame: Frame): void {
    const stream = frame.id % 4;
    if (frame.type === FrameType.WINDOW)
      this.#grant(watched, stream, frame.offset, decodeWindow(frame.payload));
    if (frame.type !== FrameType.DATA) return;
    const end = frame.offset + frame.payload.length;
    const limit = watched.limits[stream] as number;
    if (end > limit) this.faults.push(`${names[stream]} is sent to ${end} with credit to ${limit}`);
  }

  #grant(watched: Watched, stream: number, delivered: number, limit: number): void {
    const window = this.#windows[stream] as number;
    if (limit - delivered > window)
      this.faults.push(`${limit - delivered} bytes of ${names[stream]} are granted, the window is ${window}`);
    watched.limits[stream] = limit;
  }

  /** What waits in the proxy is within its limits, and counted right; who has more there than that is not read on. */
  checkQueues(unreadClients: number): void {
    let crowded = 0;
    for (const link of this.#links) {
      let waiting = 0;
      for (const client of link.clients) {
        waiting += client.queuedBytes;
        atMost(client.queuedBytes, MAX_CLIENT_QUEUE_BYTES, 'for a client');
        // The limit is looked at when a frame is whole, and again when the next bytes come.
        const more = MAX_FRAME_BYTES + ARRIVAL_BYTES;
        atMost(inboundBytes(client), MAX_INBOUND_BYTES + more, 'for the guest');
        if (inboundBytes(client) > MAX_INBOUND_BYTES || client.control.bytes > MAX_INBOUND_CONTROL_BYTES)
          crowded++;
        atMost(client.control.bytes, MAX_INBOUND_CONTROL_BYTES + more, 'as control for the guest');
      }
      atMost(link.outbound.bytes, MAX_SANDBOX_QUEUE_BYTES, 'for all clients');
      if (link.outbound.bytes !== waiting)
        throw new Error(`the proxy counts ${link.outbound.bytes} bytes for its clients, ${waiting} wait`);
    }
    if (crowded > unreadClients)
      throw new Error(`${crowded} clients have too much in the proxy, and ${unreadClients} are not read on`);
  }
}

function inboundBytes({ control, urgent, bulk }: LinkClient): number {
  return control.bytes + urgent.bytes + bulk.bytes;
}

function atMost(bytes: number, limit: number, what: string): void {
  if (bytes > limit) throw new Error(`${bytes} bytes wait ${what} in the proxy, ${limit} are allowed`);
}

/** Generations are used once by each client, and chosen at random. */
function keyOf({ id, generation }: Frame): string {
  return `${id >>> 2}:${generation}`;
}

/** Of the story that is played now. */
let present: SwitchWatch | undefined;

/** From now on every proxy in this program tells the present watch what passes. */
export function watchProxies(): void {
  const { data, control, addClient } = Link.prototype;
  const { begin, receiver } = Attachments.prototype;
  vi.spyOn(Link.prototype, 'addClient').mockImplementation(function (this: Link, client) {
    present?.linkUsed(this);
    addClient.call(this, client);
  });
  vi.spyOn(Link.prototype, 'data').mockImplementation(function (this: Link, client, frame) {
    present?.fromClient(frame);
    data.call(this, client, frame);
  });
  vi.spyOn(Link.prototype, 'control').mockImplementation(function (this: Link, client, frame) {
    present?.fromClient(frame);
    control.call(this, client, frame);
  });
  vi.spyOn(Attachments.prototype, 'begin').mockImplementation(function (this: Attachments, client, frame) {
    present?.attach(this, frame);
    return begin.call(this, client, frame);
  });
  vi.spyOn(Attachments.prototype, 'receiver').mockImplementation(function (this: Attachments, frame, id) {
    present?.fromAgent(this, frame);
    return receiver.call(this, frame, id);
  });
}
