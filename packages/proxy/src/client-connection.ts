/**
 * One client of the proxy: greets, binds to a sandbox, and from then on its frames go to that sandbox's link
 * (docs/protocol.md, section 7). Nothing is kept here that the client does not know itself.
 */
import type { Socket } from 'node:net';
import {
  Connection,
  type Frame,
  FrameType,
  frameTypeName,
  MAX_CLIENT_QUEUE_BYTES,
  Role,
  RpcError,
  violation,
} from '@coracle/wire';
import { DataQueue } from './data-queue.ts';
import type { Link, LinkClient } from './link.ts';

/** Above this a client's socket is not read on: its data waits for the guest, and so does the rest of it. */
const PAUSE_ABOVE_BYTES = 4 * 1024 * 1024;

export interface ClientEvents {
  /** The client asks for a sandbox; throws RpcError when there is none of that id. */
  bind(client: ClientConnection, sandboxId: string): void;
  closed(client: ClientConnection, reason: RpcError): void;
}

export class ClientConnection implements LinkClient {
  readonly #socket: Socket;
  readonly #connection: Connection;
  readonly #events: ClientEvents;
  readonly #towardsClient = new DataQueue(false, () => undefined);
  /** The link's sources for what this client sends: signals and resizes, and everything else. */
  readonly urgent = new DataQueue(true, () => this.#resumeReading());
  readonly bulk = new DataQueue(false, () => this.#resumeReading());
  #paused = false;
  link: Link | undefined;

  constructor(socket: Socket, events: ClientEvents) {
    this.#socket = socket;
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
          this.#events.closed(this, reason);
          this.link?.removeClient(this);
        },
      },
    );
  }

  /** The sandbox's agent has answered. */
  bound(): void {
    this.#connection.send({ type: FrameType.BOUND });
  }

  /** Forwards a frame of the agent as it came. */
  forward(frame: Frame): void {
    if (frame.type === FrameType.DATA) {
      this.#towardsClient.push(frame.encoded);
      this.#connection.schedule(this.#towardsClient);
    } else {
      this.#connection.sendEncoded(frame.encoded);
    }
    if (this.#towardsClient.bytes + this.#connection.queuedBytes > MAX_CLIENT_QUEUE_BYTES) {
      this.close(
        new RpcError(
          'resource_exhausted',
          `more than ${MAX_CLIENT_QUEUE_BYTES} bytes wait for this client to read them`,
        ),
      );
    }
  }

  /** Sends an encoded control frame of the proxy's own. */
  send(frame: Buffer): void {
    this.#connection.sendEncoded(frame);
  }

  close(reason: RpcError): void {
    this.#connection.close(reason);
  }

  #handle(frame: Frame): void {
    if (frame.type === FrameType.BIND) {
      if (this.link !== undefined) throw violation('a second BIND');
      this.#events.bind(this, frame.payload.toString('latin1'));
      return;
    }
    const handle = fromClient[frame.type];
    if (handle === undefined) throw violation(`${frameTypeName(frame.type)} from a client`);
    if (this.link === undefined) throw violation(`${frameTypeName(frame.type)} before BIND`);
    handle(this.link, this, frame);
    this.#pauseReading();
  }

  #pauseReading(): void {
    if (this.#paused || this.bulk.bytes + this.urgent.bytes <= PAUSE_ABOVE_BYTES) return;
    this.#paused = true;
    this.#socket.pause();
  }

  #resumeReading(): void {
    if (!this.#paused || this.bulk.bytes + this.urgent.bytes > PAUSE_ABOVE_BYTES / 2) return;
    this.#paused = false;
    this.#socket.resume();
  }
}

type FromClient = (link: Link, client: ClientConnection, frame: Frame) => void;

/** What a client may send once it is bound; everything else breaks the rules. */
const fromClient: Partial<Record<FrameType, FromClient>> = {
  [FrameType.REQUEST]: (link, client, frame) => link.request(client, frame),
  [FrameType.CANCEL]: (link, client, frame) => link.cancel(client, frame.id),
  [FrameType.ATTACH]: (link, client, frame) => link.attach(client, frame),
  [FrameType.DATA]: (link, client, frame) => link.data(client, frame),
  [FrameType.EOF]: (link, client, frame) => link.control(client, frame),
  [FrameType.WINDOW]: (link, client, frame) => link.control(client, frame),
  [FrameType.STOP]: (link, client, frame) => link.control(client, frame),
};
