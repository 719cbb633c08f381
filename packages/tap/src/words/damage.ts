/** What a reader says on stderr: once what was damaged and where, in the end how much could not be read. */
import type { CaptureReader, Counters, Damage } from '../read/capture-reader.ts';
import { count, formatBytes, printable } from './text.ts';

const MOST_SAID = 20;

export class DamageReport {
  #count = 0;
  #dropped = 0;

  damage(damage: Damage): void {
    this.#count++;
    if (this.#count <= MOST_SAID) say(describeDamage(damage));
  }

  counters({ newlyDropped }: Counters): void {
    this.#dropped += newlyDropped;
  }

  end(reader: CaptureReader): void {
    if (this.#count > MOST_SAID) say(`${this.#count - MOST_SAID} more places are damaged`);
    if (this.#dropped > 0)
      say(`${count(this.#dropped, 'record')} missing: the capture was not written as fast as frames came`);
    if (reader.otherVersions > 0)
      say(
        `${count(reader.otherVersions, 'record')} of another version were skipped: use a newer coracle-tap`,
      );
    if (reader.otherPackets > 0)
      say(`${count(reader.otherPackets, 'packet')} of other kinds of network were skipped`);
  }
}

export function describeDamage({ offset, bytes, what }: Damage): string {
  const skipped = bytes > 0 ? `; ${formatBytes(bytes)} skipped` : '';
  return `damaged at byte ${offset}: ${what}${skipped}`;
}

function say(text: string): void {
  process.stderr.write(`coracle-tap: ${printable(text)}\n`);
}
