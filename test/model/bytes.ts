/** Known bytes: every stream has its own, so that one that is lost, doubled, moved or another's is seen. */

const TABLE_BYTES = 4 * 1024 * 1024;
const table = Buffer.alloc(TABLE_BYTES);
for (let i = 0, x = 0x9e3779b9; i < TABLE_BYTES; i++) {
  x ^= x << 13;
  x ^= x >>> 17;
  x ^= x << 5;
  table[i] = x >>> 11;
}
/** The two highest bits of a byte of stdin tell whose it is. */
export const MAX_WRITERS = 4;
const tagged = Array.from({ length: MAX_WRITERS }, (_, writer) =>
  table.map((byte) => (byte & 0x3f) | (writer << 6)),
);

/** Streams are shorter than this in every story. */
const STREAM_BYTES = 300_007;

/** `length` bytes of an output from `offset` on; `stream` 0 is stdout, 1 stderr. */
export function outputBytes(program: number, stream: number, offset: number, length: number): Buffer {
  const from = (2 * program + stream) * STREAM_BYTES + offset;
  return table.subarray(from, from + length);
}

export function inputBytes(writer: number, offset: number, length: number): Uint8Array {
  return (tagged[writer] as Uint8Array).subarray(offset, offset + length);
}

/** Takes a program's stdin apart: which writer each byte is of, and whether each writer's come in order. */
export class InputCheck {
  /** By writer: how many of its bytes have come. */
  readonly counts: number[] = Array.from({ length: MAX_WRITERS }, () => 0);
  readonly #name: string;
  /** Writers that took each other's place while both could write: some bytes of either may be missing. */
  gapsAllowed = false;

  constructor(name: string) {
    this.#name = name;
  }

  take(bytes: Uint8Array): void {
    for (const byte of bytes) {
      const writer = byte >>> 6;
      const source = tagged[writer] as Uint8Array;
      let at = this.counts[writer] as number;
      if (this.gapsAllowed) while (source[at] !== byte && at < STREAM_BYTES) at++;
      if (source[at] !== byte) {
        throw new Error(`${this.#name}: byte ${at} of writer ${writer} is not the one that was written`);
      }
      this.counts[writer] = at + 1;
    }
  }
}

/** So many bytes occur once in an output. */
const TELLING_BYTES = 12;

/** Bytes of an output that were read behind each other. */
interface Run {
  readonly from: number;
  to: number;
}

/** What a reader has read of an output. A later owner begins where the agent says; its bytes tell where. */
export class OutputCheck {
  readonly #program: number;
  readonly #stream: number;
  /** More than one when another owner has got what is between. */
  readonly runs: Run[] = [];
  /** Two owners take each other's place: each may miss what the other has got. */
  gapsAllowed = false;
  /** It can't be told to the byte where each run begins. */
  vague = false;
  /** Read, but where it belongs is not known yet. */
  #unplaced: Buffer = Buffer.alloc(0);

  constructor(program: number, stream: number, start: number | undefined) {
    this.#program = program;
    this.#stream = stream;
    if (start !== undefined) this.runs.push({ from: start, to: start });
  }

  get start(): number | undefined {
    return this.runs[0]?.from;
  }
  get end(): number | undefined {
    return this.runs.at(-1)?.to;
  }

  take(bytes: Buffer, written: number): void {
    const run = this.runs.at(-1);
    if (run === undefined || this.#unplaced.length > 0) {
      this.#unplaced = Buffer.concat([this.#unplaced, bytes]);
    } else {
      const known = this.#matching(bytes, run.to, written);
      run.to += known;
      if (known === bytes.length) return;
      if (!this.gapsAllowed) {
        throw new Error(
          run.to === written
            ? `${this.name}: read to ${run.to + bytes.length - known}, written were ${written}`
            : `${this.name}: byte ${run.to} is not the one that was written`,
        );
      }
      this.#unplaced = Buffer.from(bytes.subarray(known));
    }
    while (this.#unplaced.length >= TELLING_BYTES) this.#place(written);
  }

  /** @returns how many of `bytes` are those at `offset` */
  #matching(bytes: Buffer, offset: number, written: number): number {
    const expected = outputBytes(
      this.#program,
      this.#stream,
      offset,
      Math.min(bytes.length, written - offset),
    );
    if (expected.equals(bytes)) return bytes.length;
    let count = 0;
    while (count < expected.length && expected[count] === bytes[count]) count++;
    return count;
  }

  /** Finds the first place behind what it has; a shorter piece when the next gap follows at once. */
  #place(written: number): void {
    const last = this.runs.at(-1);
    const all = outputBytes(this.#program, this.#stream, 0, written);
    for (let length = TELLING_BYTES; length > 0; length--) {
      const from = all.indexOf(this.#unplaced.subarray(0, length), last?.to ?? 0);
      if (from < 0) continue;
      // A byte that fits on both sides of the gap may belong to either.
      if (length < TELLING_BYTES || (last !== undefined && all[from - 1] === all[last.to - 1]))
        this.vague = true;
      const known = this.#matching(this.#unplaced, from, written);
      this.runs.push({ from, to: from + known });
      this.#unplaced = this.#unplaced.subarray(known);
      return;
    }
    throw new Error(`${this.name}: what was read was never written`);
  }

  /** The reader was killed when `bytes` more had been handed to it: what comes behind them is the next one's. */
  killed(bytes: number): void {
    const run = this.runs.at(-1);
    if (run === undefined || this.#unplaced.length > 0) this.vague = true;
    else run.to += bytes;
  }

  /** Everything has come up to `written`: then a start that was not known yet follows from it. */
  finish(written: number): void {
    if (this.#unplaced.length > 0 && this.gapsAllowed) this.vague = true;
    if (this.gapsAllowed) return;
    if (this.runs.length === 0) {
      const from = written - this.#unplaced.length;
      if (from < 0 || this.#matching(this.#unplaced, from, written) < this.#unplaced.length)
        throw new Error(`${this.name}: the last bytes are not those written`);
      this.runs.push({ from, to: written });
      this.#unplaced = Buffer.alloc(0);
    }
    if (this.end !== written) {
      throw new Error(`${this.name}: ${this.end} of ${written} bytes have come at the end of the story`);
    }
  }

  get name(): string {
    return `${this.#stream === 0 ? 'stdout' : 'stderr'} of program ${this.#program}`;
  }
}

/** Owners that took each other's place: what one has not got, another has. */
export function checkNothingMissing(checks: readonly OutputCheck[], written: number): void {
  if (checks.some(({ vague }) => vague)) return;
  const runs = checks.flatMap((check) => check.runs).sort((a, b) => a.from - b.from);
  let covered = 0;
  for (const { from, to } of runs) {
    if (from > covered) break;
    covered = Math.max(covered, to);
  }
  if (covered < written)
    throw new Error(`${checks[0]?.name}: no owner has got byte ${covered} of ${written}`);
}
