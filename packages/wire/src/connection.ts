/**
 * One hop of the link: the preambles, then frames both ways over a byte stream (docs/protocol.md,
 * sections 1 and 2). Clients, the proxy and the agent all use it. What the frames mean is not its business.
 */
import { randomBytes } from 'node:crypto';
import { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { Decoder } from './decode.ts';
import { asRpcError, codeName, RpcError } from './errors.ts';
import { encodeFrame, type Frame, type FrameFields, FrameType } from './frame.ts';
import { recycleFrame } from './frame-pool.ts';
import { LINGER_BYTES, LINGER_MS, MAX_LINGERING } from './limits.ts';
import { type FrameSource, Outbox } from './outbox.ts';
import { decodeFailure, encodeFailure } from './payloads.ts';
import {
  chooseVersion,
  EPOCH_BYTES,
  encodePreamble,
  FLUSH,
  type Preamble,
  type Role,
  VERSION_MAX,
  VERSION_MIN,
} from './preamble.ts';

export interface ConnectionEvents {
  /** Both preambles have passed: frames may be sent. For an answerer again whenever a new epoch begins. */
  open(peer: Preamble): void;
  frame(frame: Frame): void;
  /**
   * The connection has ended, once. `error` tells why: what the peer said in GOAWAY, the rule that was
   * broken, or `unavailable` when the transport ended without a word. `by` tells these apart: GOAWAY
   * `unavailable` is the peer's word that the VM is gone, a lost transport says nothing about it.
   */
  closed(error: RpcError, by: ClosedBy): void;
}

/** Who ended a connection: `peer` said GOAWAY, `self` closed it, `transport` ended without a word. */
export type ClosedBy = 'peer' | 'self' | 'transport';

export interface ConnectionOptions {
  readonly role: Role;
  /** True for the side that opened the transport. */
  readonly opener: boolean;
  /** True for an opener on a transport that may still hold bytes of an earlier connection. */
  readonly flush?: boolean;
  /**
   * The caller feeds `receive` itself, from a transport that is read into memory of the caller's own.
   * Frames and their payloads then hold only until the `frame` event returns.
   * Otherwise the transport's `data` events are taken.
   */
  readonly manualReceive?: boolean;
}

/** Sees whole frames, header and trailer included, that have come or are about to leave; it must not keep them. */
export type FrameTap = (way: 'in' | 'out', encoded: Buffer) => void;

export interface CloseOptions {
  /** False: the descriptor is closed as soon as GOAWAY has left, also when a peer that still sends misses it then. */
  readonly linger?: boolean;
}

const ZERO_EPOCH = Buffer.alloc(EPOCH_BYTES);
/** Connections of this process that have said GOAWAY and read on. */
let lingering = 0;

export class Connection {
  readonly #transport: Duplex;
  readonly #options: ConnectionOptions;
  readonly #events: ConnectionEvents;
  readonly #epoch = randomBytes(EPOCH_BYTES);
  readonly #decoder: Decoder;
  #outbox: Outbox;
  #state: 'greeting' | 'open' | 'closed' = 'greeting';
  /** Bytes that are still read, and thrown away, after GOAWAY. */
  #lingerBytes = 0;
  #tap: FrameTap | undefined;

  constructor(transport: Duplex, options: ConnectionOptions, events: ConnectionEvents) {
    this.#transport = transport;
    this.#options = options;
    this.#events = events;
    this.#decoder = new Decoder(
      { preamble: (preamble) => this.#preamble(preamble), frame: (frame) => this.#frame(frame) },
      { resynchronise: !options.opener, reuseMemory: options.manualReceive ?? false },
    );
    this.#outbox = this.#newOutbox();
    transport.on('error', (error) => {
      this.#end(
        new RpcError('unavailable', `the connection failed: ${error.message}`, { cause: error }),
        'transport',
      );
    });
    transport.on('end', () =>
      this.#end(new RpcError('unavailable', 'the peer has closed the connection'), 'transport'),
    );
    transport.on('close', () =>
      this.#end(new RpcError('unavailable', 'the connection was closed'), 'transport'),
    );
    if (!options.manualReceive) transport.on('data', (chunk: Buffer) => this.receive(chunk));
    if (options.opener) {
      if (options.flush) transport.write(FLUSH);
      transport.write(this.#ownPreamble(VERSION_MIN, VERSION_MAX, ZERO_EPOCH));
    }
  }

  get isOpen(): boolean {
    return this.#state === 'open';
  }

  /** Bytes that wait to be sent, data of scheduled sources not counted. */
  get queuedBytes(): number {
    return this.#outbox.queuedBytes;
  }

  /** From now on; undefined: nobody looks. */
  tap(tap: FrameTap | undefined): void {
    this.#tap = tap;
    this.#outbox.sent = tap && ((frame) => tap('out', frame));
  }

  /** Sends a control frame. Dropped silently unless the connection is open: it would belong to no epoch. */
  send(fields: FrameFields): void {
    if (this.#state === 'open') this.#outbox.send(encodeFrame(fields));
  }

  /** Sends a frame that is already encoded and that the caller gives away. */
  sendEncoded(frame: Buffer): void {
    if (this.#state === 'open') this.#outbox.send(frame);
  }

  /** Asks `source` for frames when its turn comes. */
  schedule(source: FrameSource): void {
    if (this.#state === 'open') this.#outbox.schedule(source);
  }

  /** Bytes have come. They must stay as they are until the frames made of them are done with. */
  receive(chunk: Buffer): void {
    if (this.#state === 'closed') {
      this.#discard(chunk.length);
      return;
    }
    try {
      this.#decoder.push(chunk);
    } catch (error) {
      this.close(asRpcError(error));
    }
  }

  /** Says why in GOAWAY, as far as the transport still takes it, and ends the connection. */
  close(reason: RpcError, { linger = true }: CloseOptions = {}): void {
    if (this.#state === 'closed') return;
    const told = this.#state === 'open';
    if (told) {
      const goaway = encodeFrame({
        type: FrameType.GOAWAY,
        payload: encodeFailure(reason.number, reason.reason),
      });
      this.#tap?.('out', goaway);
      this.#transport.write(goaway);
    }
    this.#end(reason, 'self', told && linger);
  }

  #end(error: RpcError, by: ClosedBy, linger = false): void {
    if (this.#state === 'closed') return;
    this.#state = 'closed';
    this.#outbox.close();
    this.#release(linger);
    this.#events.closed(error, by);
  }

  /** Lets a GOAWAY leave, then closes the descriptor: a peer that does not read can't keep it open. */
  #release(linger: boolean): void {
    const transport = this.#transport;
    const timer = setTimeout(() => transport.destroy(), LINGER_MS);
    timer.unref();
    transport.once('close', () => clearTimeout(timer));
    if (!linger || !this.#linger()) transport.end(() => transport.destroy());
  }

  /**
   * A socket that is closed while bytes wait in it is reset, and the peer may never read what was sent to it before.
   * So one that still sends is read until it has seen GOAWAY and closes. Not so where a virtio-serial port is, at
   * this end or behind the socket: there closing resets nothing, and the next connection waits for this one's end.
   * @returns false when this connection does not linger
   */
  #linger(): boolean {
    const { flush, manualReceive } = this.#options;
    const transport = this.#transport;
    if (!(transport instanceof Socket) || flush || manualReceive || lingering >= MAX_LINGERING) return false;
    lingering++;
    this.#lingerBytes = LINGER_BYTES;
    transport.once('close', () => lingering--);
    // Nobody's program stays alive for it once GOAWAY has left.
    transport.end(() => transport.unref());
    transport.resume();
    return true;
  }

  #discard(bytes: number): void {
    if (this.#lingerBytes === 0) return;
    this.#lingerBytes = Math.max(0, this.#lingerBytes - bytes);
    if (this.#lingerBytes === 0) this.#transport.destroy();
  }

  #newOutbox(): Outbox {
    return new Outbox(
      (bytes, taken) => {
        this.#transport.write(bytes, taken);
      },
      // A socket has handed the bytes to the kernel when it calls back; other streams may hold on to them.
      { recycle: this.#transport instanceof Socket ? recycleFrame : undefined },
    );
  }

  #ownPreamble(versionMin: number, versionMax: number, echo: Buffer): Buffer {
    return encodePreamble({
      versionMin,
      versionMax,
      features: 0,
      epoch: this.#epoch,
      echo,
      role: this.#options.role,
    });
  }

  #preamble(peer: Preamble): boolean {
    // Bytes behind a GOAWAY in the same chunk must not open again what has ended.
    if (this.#state === 'closed') return true;
    if (this.#options.opener) {
      if (!peer.echo.equals(this.#epoch)) return false;
    } else {
      // What was queued for the old epoch must not follow the new preamble.
      this.#outbox.close();
      this.#outbox = this.#newOutbox();
      this.tap(this.#tap);
    }
    const version = chooseVersion(peer);
    if (!this.#options.opener) {
      this.#transport.write(this.#ownPreamble(version ?? VERSION_MIN, version ?? VERSION_MAX, peer.epoch));
    }
    this.#state = 'open';
    if (version === undefined) {
      this.close(
        new RpcError(
          'failed_precondition',
          `no common protocol version: this side speaks ${VERSION_MIN} to ${VERSION_MAX}, the peer ${peer.versionMin} to ${peer.versionMax}; install matching versions`,
        ),
      );
      return true;
    }
    this.#events.open(peer);
    return true;
  }

  #frame(frame: Frame): void {
    if (this.#state !== 'open') return;
    this.#tap?.('in', frame.encoded);
    if (frame.type === FrameType.GOAWAY) {
      const { code, message } = decodeFailure(frame.payload);
      this.#end(new RpcError(codeName(code), message), 'peer');
      return;
    }
    this.#events.frame(frame);
  }
}
