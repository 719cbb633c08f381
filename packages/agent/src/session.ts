/** One connection of the link: frames to processes, requests to the server. */
import type { Duplex } from 'node:stream';
import {
  Connection,
  type Frame,
  type FrameTap,
  FrameType,
  frameTypeName,
  type RequestServer,
  Role,
  type RpcError,
  violation,
} from '@coracle/wire';
import type { LinkCounters } from './counters.ts';
import { log } from './log.ts';
import type { ProcessTable } from './processes.ts';

export interface SessionOptions {
  readonly manualReceive: boolean;
  opened(): void;
  closed(reason: RpcError): void;
}

/** Looks at the link: its frames, and when it comes and goes. */
export interface LinkObserver {
  readonly frame: FrameTap;
  opened(): void;
  closed(reason: RpcError): void;
}

export class SessionHost {
  readonly #processes: ProcessTable;
  readonly #server: RequestServer;
  readonly #counters: LinkCounters;
  readonly #tap: FrameTap = (way, encoded) => {
    this.#counters.count(way, encoded.length);
    this.#observer?.frame(way, encoded);
  };
  #current: Connection | undefined;
  #observer: LinkObserver | undefined;

  constructor(processes: ProcessTable, server: RequestServer, counters: LinkCounters) {
    this.#processes = processes;
    this.#server = server;
    this.#counters = counters;
  }

  /** Bytes that the present connection has not handed over. */
  get queuedBytes(): number {
    return this.#current?.queuedBytes ?? 0;
  }
  get isOpen(): boolean {
    return this.#current?.isOpen ?? false;
  }

  /** From now on; undefined: nobody looks. */
  observe(observer: LinkObserver | undefined): void {
    this.#observer = observer;
  }

  begin(transport: Duplex, options: SessionOptions): Connection {
    const connection: Connection = new Connection(
      transport,
      { role: Role.agent, opener: false, manualReceive: options.manualReceive },
      {
        open: () => {
          // A new epoch, perhaps on the same connection: whatever belonged to the old one is forgotten.
          if (this.#current !== connection) this.#current?.tap(undefined);
          this.#current = connection;
          connection.tap(this.#tap);
          this.#counters.links++;
          this.#observer?.opened();
          this.#processes.detachAll();
          this.#server.attach(connection);
          options.opened();
        },
        frame: (frame) => this.#frame(frame, connection),
        closed: (reason) => {
          if (this.#current === connection) {
            this.#current = undefined;
            this.#observer?.closed(reason);
            this.#processes.detachAll();
            this.#server.detach();
          }
          log('info', 'link closed', { reason: reason.message });
          options.closed(reason);
        },
      },
    );
    return connection;
  }

  #frame(frame: Frame, connection: Connection): void {
    switch (frame.type) {
      case FrameType.REQUEST:
      case FrameType.CANCEL:
        this.#server.handle(frame);
        return;
      case FrameType.ATTACH:
        this.#counters.attaches++;
        this.#processes.handle(frame, connection);
        return;
      case FrameType.DATA:
      case FrameType.EOF:
      case FrameType.WINDOW:
      case FrameType.STOP:
        this.#processes.handle(frame, connection);
        return;
      default:
        throw violation(`${frameTypeName(frame.type)} towards an agent`);
    }
  }
}
