/**
 * Writes a capture into files of a bounded size: FILE is the newest, FILE.1 the one before (docs/capture.md, "In a
 * file"). Blocks are never cut; each file begins with the section and the interfaces that it needs.
 */
import { closeSync, existsSync, openSync, renameSync, rmSync, writeSync } from 'node:fs';
import { BlockType } from '@coracle/wire';
import { TapError } from '../errors.ts';
import { MAX_BLOCK_BYTES } from '../read/capture-reader.ts';

export interface CaptureFileOptions {
  readonly path: string;
  readonly maxFileBytes: number;
  /** How many are kept. With 1 writing ends when the file is full. */
  readonly files: number;
}

const NONE: Buffer = Buffer.alloc(0);

export class CaptureFiles {
  readonly #options: CaptureFileOptions;
  #descriptor: number;
  #fileBytes = 0;
  /** Section header and interface descriptions of the running section. */
  #preamble: Buffer[] = [];
  /** The beginning of a block whose rest is to come. */
  #rest = NONE;
  bytes = 0;
  packets = 0;
  /** True when nothing more is written. */
  full = false;

  /** @throws TapError output */
  constructor(options: CaptureFileOptions) {
    this.#options = options;
    this.#descriptor = create(options.path);
  }

  /** @throws TapError output */
  write(chunk: Buffer): void {
    const bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    let from = 0;
    while (!this.full && at + 8 <= bytes.length) {
      const length = bytes.readUInt32LE(at + 4);
      // The proxy is ours; a length that makes no sense would put the rest of the file in doubt.
      if (length < 12 || length > MAX_BLOCK_BYTES)
        throw new TapError('output', `the proxy sent a block of ${length} bytes: recording has ended there`);
      if (at + length > bytes.length) break;
      if (this.#fileBytes + (at - from) + length > this.#options.maxFileBytes) {
        this.#put(bytes.subarray(from, at));
        from = at;
        this.#next();
        if (this.full) break;
      }
      this.#remember(bytes.subarray(at, at + length));
      at += length;
    }
    this.#put(bytes.subarray(from, this.full ? from : at));
    this.#rest = this.full ? NONE : Buffer.from(bytes.subarray(at));
  }

  /** What comes next is of another proxy: a block that was cut is not completed by it. */
  newSection(): void {
    this.#rest = NONE;
    this.#preamble = [];
  }

  close(): void {
    closeSync(this.#descriptor);
  }

  #remember(block: Buffer): void {
    const type = block.readUInt32LE(0);
    if (type === BlockType.packet) this.packets++;
    else if (type === BlockType.section) this.#preamble = [Buffer.from(block)];
    else if (type === BlockType.interface) this.#preamble.push(Buffer.from(block));
  }

  #next(): void {
    const { path, files } = this.#options;
    if (files === 1) {
      this.full = true;
      return;
    }
    closeSync(this.#descriptor);
    rmSync(`${path}.${files - 1}`, { force: true });
    for (let index = files - 2; index >= 1; index--)
      if (existsSync(`${path}.${index}`)) renameSync(`${path}.${index}`, `${path}.${index + 1}`);
    renameSync(path, `${path}.1`);
    this.#descriptor = create(path);
    this.#fileBytes = 0;
    for (const block of this.#preamble) this.#put(block);
  }

  #put(bytes: Buffer): void {
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(this.#descriptor, bytes, at);
    } catch (cause) {
      throw new TapError('output', `cannot write ${this.#options.path}: ${(cause as Error).message}`, {
        cause,
      });
    }
    this.#fileBytes += bytes.length;
    this.bytes += bytes.length;
  }
}

/** For its owner only: even redacted, it tells when somebody typed. */
function create(path: string): number {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (cause) {
    const exists = (cause as NodeJS.ErrnoException).code === 'EEXIST';
    const why = exists ? 'it is there already; remove it, or name another' : (cause as Error).message;
    throw new TapError('output', `cannot create the capture ${path}: ${why}`, { cause });
  }
}
