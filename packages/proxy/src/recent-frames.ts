/**
 * The headers of a link's last frames, for whoever comes when something hangs already: who stands still sends nothing any
 * more. A ring of numbers; payloads are not in it.
 */
import { Direction, type Frame, frameTypeName } from '@coracle/wire';
import { RECENT_FRAMES } from './limits.ts';

/** Time, direction, connection, type, flags, id, generation, offset, length. */
const FIELDS = 9;

export interface RecentFrame {
  /** How long ago. */
  readonly agoMs: number;
  readonly direction: 'to_agent' | 'to_client';
  /** Of the proxy's clients; 0: nobody's. */
  readonly client: number;
  readonly type: string;
  readonly flags: number;
  readonly id: number;
  readonly generation: number;
  readonly offset: number;
  readonly length: number;
}

export class RecentFrames {
  readonly #fields = new Float64Array(RECENT_FRAMES * FIELDS);
  #count = 0;

  /** @param id of the frame as its client numbers it */
  add(direction: Direction, client: number, frame: Frame, id: number): void {
    const fields = this.#fields;
    let at = (this.#count++ % RECENT_FRAMES) * FIELDS;
    fields[at++] = performance.now();
    fields[at++] = direction;
    fields[at++] = client;
    fields[at++] = frame.type;
    fields[at++] = frame.flags;
    fields[at++] = id;
    fields[at++] = frame.generation;
    fields[at++] = frame.offset;
    fields[at] = frame.payload.length;
  }

  /** The oldest first. */
  list(): RecentFrame[] {
    const now = performance.now();
    const kept = Math.min(this.#count, RECENT_FRAMES);
    return Array.from({ length: kept }, (_, index): RecentFrame => {
      const at = ((this.#count - kept + index) % RECENT_FRAMES) * FIELDS;
      const [time, direction, client, type, flags, id, generation, offset, length] = this.#fields.subarray(
        at,
        at + FIELDS,
      ) as unknown as NineNumbers;
      return {
        agoMs: Math.round((now - time) * 1000) / 1000,
        direction: direction === Direction.toAgent ? 'to_agent' : 'to_client',
        client,
        type: frameTypeName(type),
        flags,
        id,
        generation,
        offset,
        length,
      };
    });
  }
}

type NineNumbers = readonly [number, number, number, number, number, number, number, number, number];
