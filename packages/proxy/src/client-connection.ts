/**
 * One client of the proxy: greets, binds to a sandbox, and from then on its frames go to that sandbox's link
 * (docs/protocol.md, section 7). Nothing is kept here that the client does not know itself.
 */
import type { Duplex } from 'node:stream';
import {
  type CloseOptions,
  Connection,
  Direction,
  encodeFrame,
  type Frame,
  FrameType,
  frameTypeName,
  RecordFlag,
  Role,
  RpcError,
  violation,
} from '@coracle/wire';
import { type Holder, QueueBudget } from './budget.ts';
import { DataQueue, type Priority } from './data-queue.ts';
import {
  INBOUND_SHARE_BYTES,
  MAX_CLIENT_QUEUE_BYTES,
  MAX_HOST_INBOUND_BYTES,
  MAX_HOST_QUEUE_BYTES,
  MAX_INBOUND_BYTES,
  MAX_INBOUND_CONTROL_BYTES,
} from './limits.ts';
import type { Link } from './link.ts';
import type { LinkClient } from './link-client.ts';

export interface ClientEvents {
  /** The client asks for a sandbox; throws RpcError when there is none of that id. */
  bind(client: ClientConnection, sandboxId: string): void;
  closed(client: ClientConnection, reason: RpcError): void;
}

/** What all clients of a proxy share. */
export interface SharedBudgets {
  /** What waits for clients. */
  readonly outbound: QueueBudget;
  /** What waits for guests; nobody is cut off for it, but read more slowly. */
  readonly inbound: { bytes: number; readonly limitBytes: number };
}

export function sharedBudgets(
  clients: () => Iterable<Holder>,
  maxInboundBytes = MAX_HOST_INBOUND_BYTES,
): SharedBudgets {
  return {
    outbound: new QueueBudget(MAX_HOST_QUEUE_BYTES, 'all clients of this proxy', clients),
    inbound: { bytes: 0, limitBytes: maxInboundBytes },
  };
}

/** Who has connected. */
export interface ClientIdentity {
  /** Counted from 1. */
  readonly number: number;
  /** On this host; 0 when it is not known. */
  readonly pid: number;
}

export class ClientConnection implements LinkClient {
  readonly number: number;
  readonly pid: number;
  readonly #socket: Duplex;
  readonly #connection: Connection;
  readonly #events: ClientEvents;
  readonly #budgets: SharedBudgets;
  readonly #towardsControl = new DataQueue('control', (bytes) => this.#waits(bytes));
  readonly #towardsBulk = new DataQueue('bulk', (bytes) => this.#waits(bytes));
  readonly control = this.#inbound('control');
  readonly urgent = this.#inbound('urgent');
  readonly bulk = this.#inbound('bulk');
  #paused = false;
  #ended = false;
  link: Link | undefined;

  constructor(
    socket: Duplex,
    events: ClientEvents,
    budgets = sharedBudgets(() => [this]),
    { number, pid }: ClientIdentity = { number: 0, pid: 0 },
  ) {
    this.number = number;
    this.pid = pid;
    this.#socket = socket;
    this.#budgets = budgets;
    this.#events = events;
    this.#connection = new Connection(
      socket,
      { role: Role.proxy, opener: false },
      {
        // A client that greets a second time has no business to: its frames would belong to two epochs.
        open: () => {
          if (this.link !== undefined) this.close(violation('a second preamble on a bound connection'));
        },
        frame: (frame) => this.#handle(frame),
        closed: (reason) => {
          this.#ended = true;
          this.#events.closed(this, reason);
          for (const queue of [this.#towardsControl, this.#towardsBulk]) queue.clear();
          this.link?.removeClient(this);
        },
      },
    );
  }

  get queuedBytes(): number {
    return this.#towardsControl.bytes + this.#towardsBulk.bytes;
  }

  /** Bytes of its own that wait for the guest. */
  get inboundBytes(): number {
    return this.control.bytes + this.urgent.bytes + this.bulk.bytes;
  }

  /** The sandbox's agent has answered. */
  bound(): void {
    const frame = encodeFrame({ type: FrameType.BOUND });
    this.link?.tap?.frame(Direction.toClient, this.number, frame, RecordFlag.OWN);
    this.#connection.sendEncoded(frame);
  }

  forward(frame: Frame, bulk: boolean): void {
    this.#push(bulk ? this.#towardsBulk : this.#towardsControl, frame.encoded);
  }

  send(frame: Buffer): void {
    this.link?.tap?.frame(Direction.toClient, this.number, frame, RecordFlag.OWN);
    this.#push(this.#towardsControl, frame);
  }

  cutOff(limitBytes: number, whose: string): void {
    this.close(
      new RpcError('resource_exhausted', `more than ${limitBytes} bytes wait for ${whose} to read them`),
    );
  }

  close(reason: RpcError, options?: CloseOptions): void {
    this.#connection.close(reason, options);
  }

  #push(queue: DataQueue, frame: Buffer): void {
    if (this.#ended) return;
    queue.push(frame);
    this.#connection.schedule(queue);
    if (this.queuedBytes > MAX_CLIENT_QUEUE_BYTES) this.cutOff(MAX_CLIENT_QUEUE_BYTES, 'this client');
  }

  #waits(bytes: number): void {
    this.link?.outbound.add(bytes);
    this.#budgets.outbound.add(bytes);
  }

  #handle(frame: Frame): void {
    if (frame.type === FrameType.BIND) {
      if (this.link !== undefined) throw violation('a second BIND');
      this.#events.bind(this, frame.payload.toString('latin1'));
      return;
    }
    const handle = fromClient[frame.type];
    // One that is not allowed is the proof of why this connection ends.
    if (handle === undefined || !this.link?.isOpen)
      this.link?.tap?.frame(Direction.toAgent, this.number, frame.encoded, RecordFlag.UNOWNED);
    if (handle === undefined) throw violation(`${frameTypeName(frame.type)} from a client`);
    if (this.link === undefined) throw violation(`${frameTypeName(frame.type)} before BIND`);
    if (!this.link.isOpen) throw violation(`${frameTypeName(frame.type)} before BOUND`);
    handle(this.link, this, frame);
  }

  #inbound(priority: Priority): DataQueue {
    return new DataQueue(priority, (bytes) => {
      this.#budgets.inbound.bytes += bytes;
      if (bytes > 0) this.#pauseReading();
      else this.#resumeReading();
    });
  }

  /** How full its share of what waits for guests is: above 1 the socket is not read on. */
  get #fill(): number {
    const { bytes, limitBytes } = this.#budgets.inbound;
    const crowded = bytes > limitBytes;
    const allowed = crowded ? INBOUND_SHARE_BYTES : MAX_INBOUND_BYTES;
    return Math.max(this.inboundBytes / allowed, this.control.bytes / MAX_INBOUND_CONTROL_BYTES);
  }

  #pauseReading(): void {
    if (this.#paused || this.#fill <= 1) return;
    this.#paused = true;
    this.#socket.pause();
  }

  #resumeReading(): void {
    if (!this.#paused || this.#fill > 0.5) return;
    this.#paused = false;
    this.#socket.resume();
  }
}

type FromClient = (link: Link, client: ClientConnection, frame: Frame) => void;

/** What a client may send once it is bound; everything else breaks the rules. */
const fromClient: Partial<Record<FrameType, FromClient>> = {
  [FrameType.REQUEST]: (link, client, frame) => link.request(client, frame),
  [FrameType.CANCEL]: (link, client, frame) => link.cancel(client, frame),
  [FrameType.ATTACH]: (link, client, frame) => link.attach(client, frame),
  [FrameType.DATA]: (link, client, frame) => link.data(client, frame),
  [FrameType.EOF]: (link, client, frame) => link.control(client, frame),
  [FrameType.WINDOW]: (link, client, frame) => link.control(client, frame),
  [FrameType.STOP]: (link, client, frame) => link.control(client, frame),
};
