/**
 * What waits to be sent on one connection, and in which order it goes: control frames first and in order,
 * then urgent streams, then the other streams in turn, one frame each. Sources are asked for a frame only
 * when the transport can take it, so data never queues up in front of a control frame.
 */
import { MAX_FRAME_BYTES, TRANSPORT_QUEUE_BYTES } from './limits.ts';

/** Something that has DATA to send when asked: a SendStream, or the proxy's queue of one client. */
export interface FrameSource {
  /** Goes before urgent sources too: control frames of many clients, which take turns. */
  readonly control?: boolean;
  /** Goes before other sources: control streams. */
  readonly urgent: boolean;
  /** A whole encoded frame, or undefined when there is none for now. */
  pull(): Buffer | undefined;
}

/** Writes bytes; calls `taken` when the transport has let go of them. */
export type WriteBytes = (bytes: Buffer, taken: () => void) => void;

export class Outbox {
  readonly #write: WriteBytes;
  readonly #recycle: ((frame: Buffer) => void) | undefined;
  #control: Buffer[] = [];
  /** Control frames before this index were sent: taking from the front must not move the rest each time. */
  #controlFirst = 0;
  #controlBytes = 0;
  /** Sources by what goes first: control, urgent, the others. */
  #controls: FrameSource[] = [];
  #urgent: FrameSource[] = [];
  #turns: FrameSource[] = [];
  readonly #scheduled = new Set<FrameSource>();
  /** Bytes handed to the transport and not yet taken. */
  #inTransport = 0;
  #pumpQueued = false;
  #pumping = false;
  /** A frame that did not fit into the last write. */
  #held: Buffer | undefined;
  /** Sees each frame when its turn to leave has come. */
  sent: ((frame: Buffer) => void) | undefined;
  #closed = false;

  /** @param options.recycle gets back the frames that the transport has taken, and nobody else holds */
  constructor(write: WriteBytes, options: { recycle?: ((frame: Buffer) => void) | undefined } = {}) {
    this.#write = write;
    this.#recycle = options.recycle;
  }

  /** Bytes of control frames that wait, with what the transport holds. */
  get queuedBytes(): number {
    return this.#controlBytes + this.#inTransport;
  }

  /** Queues a control frame; the caller gives the bytes away. */
  send(frame: Buffer): void {
    if (this.#closed) return;
    this.#control.push(frame);
    this.#controlBytes += frame.length;
    this.#queuePump();
  }

  /** Says that a source has something; it is asked when its turn comes, until it has nothing. */
  schedule(source: FrameSource): void {
    if (this.#closed || this.#scheduled.has(source)) return;
    this.#scheduled.add(source);
    (source.control ? this.#controls : source.urgent ? this.#urgent : this.#turns).push(source);
    this.#queuePump();
  }

  close(): void {
    this.#closed = true;
    this.#control = [];
    this.#controlFirst = 0;
    this.#controlBytes = 0;
    this.#held = undefined;
    this.#controls = [];
    this.#urgent = [];
    this.#turns = [];
    this.#scheduled.clear();
  }

  /** Once per turn of the event loop's microtasks: what was queued together leaves together. */
  #queuePump(): void {
    if (this.#pumpQueued || this.#inTransport >= TRANSPORT_QUEUE_BYTES) return;
    this.#pumpQueued = true;
    queueMicrotask(() => {
      this.#pumpQueued = false;
      this.#pump();
    });
  }

  #pump(): void {
    // A transport may take bytes, and say so, before `write` returns.
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (!this.#closed && this.#inTransport < TRANSPORT_QUEUE_BYTES) {
        const bytes = this.#nextWrite();
        if (bytes === undefined) return;
        this.#inTransport += bytes.length;
        this.#write(bytes, () => {
          this.#inTransport -= bytes.length;
          this.#recycle?.(bytes);
          if (!this.#pumpQueued) this.#pump();
        });
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** Small frames are joined: one write, one system call, one interrupt in the guest. */
  #nextWrite(): Buffer | undefined {
    let first = this.#nextFrame(MAX_FRAME_BYTES);
    if (first === undefined) return undefined;
    this.sent?.(first);
    let total = first.length;
    let batch: Buffer[] | undefined;
    while (total < MAX_FRAME_BYTES / 2) {
      const more = this.#nextFrame(MAX_FRAME_BYTES - total);
      if (more === undefined) break;
      this.sent?.(more);
      batch ??= [first];
      batch.push(more);
      total += more.length;
    }
    if (batch !== undefined) {
      first = Buffer.concat(batch, total);
      if (this.#recycle !== undefined) for (const frame of batch) this.#recycle(frame);
    }
    return first;
  }

  #nextFrame(most: number): Buffer | undefined {
    const control = this.#control[this.#controlFirst];
    if (control !== undefined) {
      if (control.length > most) return undefined;
      this.#controlFirst++;
      if (this.#controlFirst === this.#control.length || this.#controlFirst >= 1024) {
        this.#control = this.#control.slice(this.#controlFirst);
        this.#controlFirst = 0;
      }
      this.#controlBytes -= control.length;
      return control;
    }
    const frame =
      this.#held ??
      this.#pullFrom(this.#controls) ??
      this.#pullFrom(this.#urgent) ??
      this.#pullFrom(this.#turns);
    // A frame that does not fit into this write is the first of the next one.
    this.#held = undefined;
    if (frame !== undefined && frame.length > most) {
      this.#held = frame;
      return undefined;
    }
    return frame;
  }

  #pullFrom(queue: FrameSource[]): Buffer | undefined {
    for (;;) {
      const source = queue.shift();
      if (source === undefined) return undefined;
      // Not scheduled while it is asked: one that becomes ready just then is to be asked again.
      this.#scheduled.delete(source);
      const frame = source.pull();
      if (frame !== undefined) {
        if (!this.#closed && !this.#scheduled.has(source)) {
          this.#scheduled.add(source);
          queue.push(source);
        }
        return frame;
      }
    }
  }
}
