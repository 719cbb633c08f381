/**
 * Retransmissions, stalls and round trips of one link's streams, from the frames that pass: what counters.ts counts. It
 * decides nothing, and what it does not know (a link that was made anew) it counts as new.
 */
import { type Frame, FrameType } from '@coracle/wire';
import type { Counters, Traffic } from './counters.ts';
import { MAX_WATCHED_PROCESSES } from './limits.ts';

interface Watched {
  readonly traffic: Traffic;
  /** The end of what was ever sent, and of what may be. */
  highest: number;
  limit: number;
  /** As far as its receiver has said. */
  delivered: number;
  /** Since when nothing more may be sent; undefined while something may. */
  stalledMs: number | undefined;
  /** One byte at a time is followed until it is delivered. */
  followed: { readonly end: number; readonly ms: number } | undefined;
}

/** Of one stream; numbers as in its frames. */
export interface StreamState {
  readonly id: number;
  readonly sent: number;
  readonly delivered: number;
  /** Undefined where it was not seen. */
  readonly limit: number | undefined;
  /** Nothing more may be sent, for so long. */
  readonly stalledForMs: number | undefined;
}

/** Control, stdin, stdout, stderr. */
type Streams = readonly [Watched, Watched, Watched, Watched];

export class StreamWatch {
  readonly #counters: Counters;
  readonly #processes = new Map<number, Streams>();

  constructor(counters: Counters) {
    this.#counters = counters;
  }

  /** A frame of a stream or a process, which its receiver is to have. */
  take(frame: Frame): void {
    switch (frame.type) {
      case FrameType.DATA:
        data(this.#stream(frame.id), frame.offset, frame.offset + frame.payload.length);
        return;
      case FrameType.WINDOW:
        window(this.#stream(frame.id), frame.offset, offsetAt(frame.payload, 0));
        return;
      case FrameType.EOF:
      case FrameType.STOP:
        endStall(this.#stream(frame.id));
        return;
      case FrameType.ATTACH: {
        this.#counters.attachments++;
        if (this.#processes.has(frame.id)) this.#counters.reattachments++;
        // Behind the token each stream's offset and limit: stdout's, stderr's.
        begin(this.#stream(frame.id + 2), offsetAt(frame.payload, 24));
        begin(this.#stream(frame.id + 3), offsetAt(frame.payload, 40));
        return;
      }
      case FrameType.ATTACHED:
        begin(this.#stream(frame.id + 1), offsetAt(frame.payload, 8));
        begin(this.#stream(frame.id), offsetAt(frame.payload, 24));
        return;
      default:
    }
  }

  /** Nobody is attached any more who could be waited for. */
  detached(processId: number): void {
    for (const stream of this.#processes.get(processId) ?? []) endStall(stream);
  }

  close(): void {
    for (const processId of this.#processes.keys()) this.detached(processId);
    this.#processes.clear();
  }

  /** Those that stand still, and for how long in all. */
  stalled(traffic: Traffic): { streams: number; seconds: number } {
    let [streams, ms] = [0, 0];
    const now = performance.now();
    for (const process of this.#processes.values()) {
      for (const stream of process) {
        if (stream.traffic !== traffic || stream.stalledMs === undefined) continue;
        streams++;
        ms += now - stream.stalledMs;
      }
    }
    return { streams, seconds: ms / 1000 };
  }

  /** Streams on which something has crossed. */
  describe(): StreamState[] {
    const now = performance.now();
    return [...this.#processes].flatMap(([processId, streams]) =>
      streams.flatMap(({ highest, delivered, limit, stalledMs }, kind): StreamState[] => {
        if (highest === 0) return [];
        return [
          {
            id: processId + kind,
            sent: highest,
            delivered,
            limit: Number.isFinite(limit) ? limit : undefined,
            stalledForMs: stalledMs === undefined ? undefined : Math.round(now - stalledMs),
          },
        ];
      }),
    );
  }

  #stream(id: number): Watched {
    const processId = id - (id % 4);
    let streams = this.#processes.get(processId);
    if (streams === undefined) {
      if (this.#processes.size >= MAX_WATCHED_PROCESSES) this.#forgetOldest();
      const { toAgent, toClient } = this.#counters;
      streams = [watched(toAgent), watched(toAgent), watched(toClient), watched(toClient)];
      this.#processes.set(processId, streams);
    }
    return streams[id % 4] as Watched;
  }

  #forgetOldest(): void {
    const [oldest] = this.#processes.keys();
    if (oldest === undefined) return;
    this.detached(oldest);
    this.#processes.delete(oldest);
  }
}

function watched(traffic: Traffic): Watched {
  return {
    traffic,
    highest: 0,
    delivered: 0,
    limit: Number.POSITIVE_INFINITY,
    stalledMs: undefined,
    followed: undefined,
  };
}

/** Any number: whether it may be one is for the receiver to judge. */
function offsetAt(payload: Buffer, at: number): number {
  return payload.readUInt32LE(at + 4) * 0x1_0000_0000 + payload.readUInt32LE(at);
}

/** A new attachment: what was under way may come again. */
function begin(stream: Watched, limit: number): void {
  endStall(stream);
  stream.followed = undefined;
  stream.limit = limit;
}

function data(stream: Watched, offset: number, end: number): void {
  const { traffic, highest } = stream;
  if (offset < highest) {
    traffic.retransmittedFrames++;
    traffic.retransmittedBytes += Math.min(end, highest) - offset;
  }
  if (end > highest) stream.highest = end;
  stream.followed ??= { end, ms: performance.now() };
  if (end >= stream.limit && stream.stalledMs === undefined) {
    traffic.stalls++;
    stream.stalledMs = performance.now();
  }
}

function window(stream: Watched, delivered: number, limit: number): void {
  const { followed } = stream;
  if (followed !== undefined && delivered >= followed.end) {
    stream.traffic.delivery.add((performance.now() - followed.ms) / 1000);
    stream.followed = undefined;
  }
  stream.delivered = delivered;
  stream.limit = limit;
  if (limit > stream.highest) endStall(stream);
}

function endStall(stream: Watched): void {
  if (stream.stalledMs === undefined) return;
  stream.traffic.stalledSeconds += (performance.now() - stream.stalledMs) / 1000;
  stream.stalledMs = undefined;
}
