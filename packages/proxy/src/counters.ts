/**
 * What the proxy counts, as plain numbers: counting is on the way of every frame. metrics.ts reads them when it is asked.
 * Nothing here grows with sandboxes, clients or streams.
 */
import { type CodeName, type Frame, type FrameType, frameTypeName } from '@coracle/wire';

/** Types are below. */
const TYPES = 0x40;

/** How many values were at most so large; for durations, in seconds. */
export class Distribution {
  readonly bounds: readonly number[];
  /** By bound, not added up; the last one is what was larger than all bounds. */
  readonly counts: Float64Array;
  sum = 0;
  count = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  add(seconds: number): void {
    this.sum += seconds;
    this.count++;
    const found = this.bounds.findIndex((bound) => seconds <= bound);
    const index = found < 0 ? this.bounds.length : found;
    this.counts[index] = (this.counts[index] as number) + 1;
  }
}

/** From a byte's frame until it is said to be delivered: a local link takes less than a millisecond. */
const DELIVERY_BOUNDS = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];
/** WaitProcess takes as long as its process. */
const REQUEST_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60];

/** What goes in one direction. */
export class Traffic {
  readonly frames = new Float64Array(TYPES);
  readonly payloadBytes = new Float64Array(TYPES);
  /** DATA that had crossed before, wholly or in part. */
  retransmittedFrames = 0;
  retransmittedBytes = 0;
  /** A stream had sent all that it may; how often, and for how long, those that have ended. */
  stalls = 0;
  stalledSeconds = 0;
  readonly delivery = new Distribution(DELIVERY_BOUNDS);

  take({ type, payload }: Frame): void {
    this.frames[type] = (this.frames[type] as number) + 1;
    this.payloadBytes[type] = (this.payloadBytes[type] as number) + payload.length;
  }

  /** By type, those that were seen. */
  *byType(values: Float64Array): Generator<{ type: string; value: number }> {
    for (const [type, value] of values.entries())
      if (this.frames[type] !== 0) yield { type: frameTypeName(type as FrameType), value };
  }
}

export class Counters {
  readonly toAgent = new Traffic();
  readonly toClient = new Traffic();
  linksOpened = 0;
  readonly linksClosed = new Map<CodeName, number>();
  /** Of links that were there: the agent did not answer the preamble. */
  linksDialledAgain = 0;
  clientsConnected = 0;
  readonly clientsClosed = new Map<CodeName, number>();
  attachments = 0;
  /** To a process that had been attached to before, over the same link. */
  reattachments = 0;
  readonly requests = new Distribution(REQUEST_BOUNDS);
}

export function countBy<Key>(counts: Map<Key, number>, key: Key): void {
  counts.set(key, (counts.get(key) ?? 0) + 1);
}
