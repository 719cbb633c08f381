/**
 * Captures that run, and which sandboxes' frames they are given. A link has a tap only while somebody captures: off, it
 * costs one comparison per frame (docs/capture.md, "At the proxy").
 */
import type { Capture, CaptureEventName, Direction, SandboxCapture } from '@coracle/wire';

type EventDetails = Parameters<SandboxCapture['event']>[2];

/** One sandbox, in all the captures that want it. */
export class LinkTap {
  readonly #captures: readonly SandboxCapture[];

  constructor(captures: readonly SandboxCapture[]) {
    this.#captures = captures;
  }

  frame(direction: Direction, connection: number, encoded: Buffer, flags = 0): void {
    for (const capture of this.#captures) capture.frame(direction, connection, encoded, flags);
  }

  event(event: CaptureEventName, connection = 0, details: EventDetails = {}): void {
    for (const capture of this.#captures) capture.event(event, connection, details);
  }
}

export interface Tapping {
  readonly capture: Capture;
  /** Undefined: all. */
  readonly sandboxes: ReadonlySet<string> | undefined;
}

export class Taps {
  readonly #running = new Set<Tapping>();

  get size(): number {
    return this.#running.size;
  }

  add(tapping: Tapping): void {
    this.#running.add(tapping);
  }

  delete(tapping: Tapping): boolean {
    return this.#running.delete(tapping);
  }

  /** Undefined when nobody captures this sandbox. */
  of(sandboxId: string): LinkTap | undefined {
    const captures = [...this.#running]
      .filter(({ sandboxes }) => sandboxes?.has(sandboxId) ?? true)
      .map(({ capture }) => capture.sandbox(sandboxId));
    return captures.length === 0 ? undefined : new LinkTap(captures);
  }

  /** A sandbox, for this capture alone. */
  only(tapping: Tapping, sandboxId: string): LinkTap | undefined {
    const wanted = tapping.sandboxes?.has(sandboxId) ?? true;
    return wanted ? new LinkTap([tapping.capture.sandbox(sandboxId)]) : undefined;
  }

  [Symbol.iterator](): IterableIterator<Tapping> {
    return this.#running.values();
  }
}
