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

/** What a reader has read of an output. A later owner begins where the agent says; its bytes tell where. */
export class OutputCheck {
  readonly #program: number;
  readonly #stream: number;
  start: number | undefined;
  length = 0;
  /** Two owners take each other's place: each may miss what the other has got. */
  gapsAllowed = false;
  #early = Buffer.alloc(0);

  constructor(program: number, stream: number, start: number | undefined) {
    this.#program = program;
    this.#stream = stream;
    this.start = start;
  }

  get end(): number | undefined {
    return this.start === undefined ? undefined : this.start + this.length;
  }

  take(bytes: Buffer, written: number): void {
    if (this.start === undefined) {
      this.#early = Buffer.concat([this.#early, bytes]);
      this.length += bytes.length;
      if (this.#early.length < 12) return;
      const at = outputBytes(this.#program, this.#stream, 0, written).indexOf(this.#early);
      if (at < 0) throw new Error(`${this.name}: what was read was never written`);
      this.start = at;
      return;
    }
    const from = this.gapsAllowed ? this.#find(bytes, written) : this.start + this.length;
    if (from + bytes.length > written) {
      throw new Error(`${this.name}: read to ${from + bytes.length}, written were ${written}`);
    }
    if (!outputBytes(this.#program, this.#stream, from, bytes.length).equals(bytes)) {
      throw new Error(
        `${this.name}: bytes ${from} to ${from + bytes.length} are not those that were written`,
      );
    }
    this.length = from + bytes.length - this.start;
  }

  /** Somewhere behind what it has: another owner may have got what is missing. */
  #find(bytes: Buffer, written: number): number {
    const from = (this.start ?? 0) + this.length;
    const at = outputBytes(this.#program, this.#stream, 0, written).indexOf(bytes, from);
    return at < 0 ? from : at;
  }

  /** Everything has come up to `written`: then a start that was not known yet follows from it. */
  finish(written: number): void {
    if (this.gapsAllowed) return;
    if (this.start === undefined) {
      this.start = written - this.length;
      const expected = outputBytes(this.#program, this.#stream, this.start, this.length);
      if (!expected.equals(this.#early))
        throw new Error(`${this.name}: the last bytes are not those written`);
    }
    if (this.end !== written) {
      throw new Error(`${this.name}: ${this.end} of ${written} bytes have come at the end of the story`);
    }
  }

  get name(): string {
    return `${this.#stream === 0 ? 'stdout' : 'stderr'} of program ${this.#program}`;
  }
}
