/** One recorded client's connection, made again: sends what it is told to, and knows what has come for it. */
import net from 'node:net';
import {
  Connection,
  decodeAttached,
  decodeWindow,
  type Frame,
  FrameType,
  MessageAssembler,
  Request,
  Response,
  Role,
  sendMessage,
} from '@coracle/wire';
import { processNumber } from '../model/names.ts';

export interface ClientEvents {
  /** Something has come: whoever waits looks again. */
  moved(): void;
  /** A request has its answer. */
  answered(id: number, response: Response): void;
}

const MAX_MESSAGES = 64;

export class ReplayClient {
  readonly #connection: Connection;
  readonly #socket: net.Socket;
  readonly #events: ClientEvents;
  readonly #received: Map<number, number>;
  readonly #messages = new MessageAssembler(MAX_MESSAGES);
  /** By stream: how far may be sent. */
  readonly limits = new Map<number, number>();
  /** Generations that were answered, with ATTACHED or REFUSED. */
  readonly attached = new Set<number>();
  /** Processes whose EXIT has come. */
  readonly exited = new Set<number>();
  /** ATTACHs without an answer. */
  unanswered = 0;
  bound = false;
  closed = false;

  /** @param received by stream, how far bytes have come: of all clients of a session */
  constructor(socketPath: string, sandbox: string, received: Map<number, number>, events: ClientEvents) {
    this.#events = events;
    this.#received = received;
    this.#socket = net.connect(socketPath);
    this.#connection = new Connection(
      this.#socket,
      { role: Role.client, opener: true },
      {
        open: () => this.#connection.send({ type: FrameType.BIND, payload: Buffer.from(sandbox, 'latin1') }),
        frame: (frame) => {
          this.#frame(frame);
          events.moved();
        },
        closed: () => {
          this.closed = true;
          events.moved();
        },
      },
    );
  }

  request(id: number, request: Request): void {
    sendMessage(this.#connection, FrameType.REQUEST, id, Request.encode(request).finish());
  }

  attach(frame: Buffer): void {
    this.unanswered++;
    this.send(frame);
  }

  send(frame: Buffer): void {
    this.#connection.sendEncoded(frame);
  }

  close(): void {
    this.#socket.destroy();
  }

  #frame(frame: Frame): void {
    const { id } = frame;
    switch (frame.type) {
      case FrameType.BOUND:
        this.bound = true;
        return;
      case FrameType.DATA:
        this.#received.set(id, Math.max(this.#received.get(id) ?? 0, frame.offset + frame.payload.length));
        return;
      case FrameType.WINDOW:
        this.limits.set(id, decodeWindow(frame.payload));
        return;
      case FrameType.ATTACHED: {
        const { stdin, control } = decodeAttached(frame.payload);
        this.limits.set(id, control.limit);
        this.limits.set(id + 1, stdin.limit);
        this.#answered(frame.generation);
        return;
      }
      case FrameType.REFUSED:
        this.#answered(frame.generation);
        return;
      case FrameType.EXIT:
        this.exited.add(processNumber(id));
        return;
      case FrameType.RESPONSE: {
        const message = this.#messages.add(frame);
        if (message !== undefined) this.#events.answered(id, Response.decode(message));
        return;
      }
      default:
    }
  }

  #answered(generation: number): void {
    this.attached.add(generation);
    this.unanswered--;
  }
}
