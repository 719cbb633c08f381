/** The known pseudo-random data of the fault suite, as mover.c makes and checks it: both sides know every byte. */

export const BLOCK_BYTES = 512;
const HEADER_BYTES = 8;
const WORDS_PER_BLOCK = BLOCK_BYTES / 4;
/** How far around a wrong byte is searched for what came there instead. */
const SEARCH_BYTES = 8 * 1024 * 1024;

/** First byte of a block. */
export const BlockType = { data: 0x44, stop: 0x53, error: 0x45 } as const;

function word(seed: number, index: number): number {
  let x = (seed + Math.imul(index, 0x9e3779b9)) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
  x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
  return (x ^ (x >>> 15)) >>> 0;
}

/** Blocks `first` to `first + count` of the seed's stream, the last of them of the given type. */
export function makeBlocks(
  seed: number,
  first: number,
  count: number,
  last: number = BlockType.data,
): Buffer {
  const bytes = Buffer.alloc(count * BLOCK_BYTES);
  for (let block = 0; block < count; block++) {
    const at = block * BLOCK_BYTES;
    bytes[at] = block === count - 1 ? last : BlockType.data;
    fillWords(bytes, at, seed, first + block);
  }
  return bytes;
}

function fillWords(bytes: Buffer, at: number, seed: number, block: number): void {
  for (let i = HEADER_BYTES / 4; i < WORDS_PER_BLOCK; i++)
    bytes.writeUInt32LE(word(seed, (block * WORDS_PER_BLOCK + i) | 0), at + 4 * i);
}

export interface Fault {
  readonly offset: number;
  /** Bytes that are missing (more than 0) or came again (below 0) at the offset; unset when it is neither. */
  readonly shift: number | undefined;
  readonly text: string;
}

/** Checks a mover's output as it comes. */
export class Checker {
  readonly #seed: number;
  readonly #block = Buffer.alloc(BLOCK_BYTES);
  readonly #expected = Buffer.alloc(BLOCK_BYTES);
  #received = 0;
  #confirmed = 0;
  #stopped = false;

  constructor(seed: number) {
    this.#seed = seed;
  }

  /** Bytes that have come and were right. */
  get received(): number {
    return this.#received;
  }
  /** Bytes of its input that the mover had when it wrote the last block. */
  get confirmed(): number {
    return this.#confirmed;
  }
  /** The last block has come. */
  get stopped(): boolean {
    return this.#stopped;
  }

  /** @returns what is wrong, for good: nothing more is to be given then */
  take(bytes: Buffer): Fault | undefined {
    for (let at = 0; at < bytes.length; ) {
      if (this.#stopped) return fault(this.#received, undefined, 'bytes after the last block');
      const within = this.#received % BLOCK_BYTES;
      const length = Math.min(BLOCK_BYTES - within, bytes.length - at);
      bytes.copy(this.#block, within, at, at + length);
      this.#received += length;
      at += length;
      if (within + length < BLOCK_BYTES) continue;
      const found = this.#checkBlock(bytes.subarray(at));
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #checkBlock(rest: Buffer): Fault | undefined {
    const start = this.#received - BLOCK_BYTES;
    const type = this.#block[0];
    const count = Number(this.#block.readBigUInt64LE(0) >> 8n);
    if (type === BlockType.error) {
      const came = this.#block.subarray(HEADER_BYTES);
      return fault(count, undefined, `the process read ${came.subarray(0, 64).toString('hex')}`);
    }
    this.#block.copy(this.#expected, 0, 0, HEADER_BYTES);
    fillWords(this.#expected, 0, this.#seed, start / BLOCK_BYTES);
    const right =
      (type === BlockType.data || type === BlockType.stop) &&
      count >= this.#confirmed &&
      this.#block.equals(this.#expected);
    if (right) {
      this.#confirmed = count;
      this.#stopped = type === BlockType.stop;
      return undefined;
    }
    let wrong = 0;
    while (wrong < BLOCK_BYTES && this.#block[wrong] === this.#expected[wrong]) wrong++;
    this.#received = start + wrong;
    const came = Buffer.concat([this.#block.subarray(wrong), rest]).subarray(0, 2 * BLOCK_BYTES);
    return describe(this.#seed, this.#received, came);
  }
}

const fault = (offset: number, shift: number | undefined, text: string): Fault => ({ offset, shift, text });

function describe(seed: number, offset: number, came: Buffer): Fault {
  const shift = shiftOf(seed, offset, came);
  if (shift === undefined)
    return fault(offset, shift, `${came.subarray(0, 32).toString('hex')}, found nowhere near`);
  return fault(offset, shift, shift > 0 ? `${shift} bytes are missing` : `${-shift} bytes came again`);
}

/** Where the bytes that came belong, less where they came: found by 16 bytes of pattern between two headers. */
export function shiftOf(seed: number, offset: number, came: Buffer): number | undefined {
  const first = Math.max(0, Math.floor((offset - SEARCH_BYTES) / BLOCK_BYTES));
  const blocks = Math.floor((2 * SEARCH_BYTES) / BLOCK_BYTES);
  const around = makeBlocks(seed, first, blocks);
  for (let at = 0; at + 16 <= Math.min(came.length, 64); at++) {
    const found = around.indexOf(came.subarray(at, at + 16));
    if (found !== -1) return first * BLOCK_BYTES + found - (offset + at) || undefined;
  }
  return undefined;
}
