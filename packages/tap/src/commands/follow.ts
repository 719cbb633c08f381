import { closeSync, openSync, writeSync } from 'node:fs';
import { TapError } from '../errors.ts';
import { NamesBySandbox } from '../model/names-by-sandbox.ts';
import { StreamBytes, type StreamPiece } from '../model/stream-bytes.ts';
import { parseStreamName, streamNameHelp } from '../model/stream-name.ts';
import { readCapture } from '../read/read-file.ts';
import { DamageReport } from '../words/damage.ts';
import { Output } from '../words/output.ts';
import { count, formatSpan, printable } from '../words/text.ts';
import { type Command, parseCommand } from './command.ts';

export const follow: Command = {
  usage: 'follow FILE STREAM [--hex | --raw] [--output FILE]',
  summary: 'print the bytes of one stream in order, each once; control characters are shown as escapes',
  options: {
    STREAM: streamNameHelp,
    '--hex': 'as hexadecimal, with offsets and times',
    '--raw': 'as they are: not to a terminal, which would obey them',
    '--output FILE': 'write into a new file instead of stdout',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['FILE', 'STREAM'], {
      hex: { type: 'boolean', default: false },
      raw: { type: 'boolean', default: false },
      output: { type: 'string', short: 'o' },
    });
    if (values.hex && values.raw) throw new TapError('usage', '--hex and --raw exclude each other');
    if (values.raw && values.output === undefined && process.stdout.isTTY)
      throw new TapError('usage', 'raw bytes would be obeyed by this terminal; use --output FILE, or a pipe');
    const [path = '', text = ''] = positionals;
    const stream = parseStreamName(text);
    using target = openTarget(values.output);
    const writer = values.raw
      ? new RawWriter(target)
      : values.hex
        ? new HexWriter(target)
        : new TextWriter(target);
    const names = new NamesBySandbox();
    const bytes = new StreamBytes();
    const report = new DamageReport();
    const seen = { sandboxes: new Set<string>(), ids: new Set<number>() };
    const reader = await readCapture(
      path,
      {
        record: (record) => {
          if (record.isEvent) return;
          const own = names.of(record);
          own.take(record);
          if (!isData(record.type) || !stream.matches(record, own)) return;
          seen.sandboxes.add(record.sandbox);
          seen.ids.add(record.id);
          if (seen.sandboxes.size > 1)
            throw new TapError(
              'usage',
              `${text} is in the sandboxes ${[...seen.sandboxes].join(' and ')}: put SANDBOX: before it`,
            );
          for (const piece of bytes.take(record)) writer.piece(piece);
        },
        damage: (damage) => report.damage(damage),
        counters: (counters) => report.counters(counters),
      },
      { signal, between: () => target.room() },
    );
    writer.end();
    report.end(reader);
    if (seen.ids.size === 0)
      throw new TapError(
        'not-found',
        `no frame of ${text} is in ${path}; 'coracle-tap stats ${path}' lists its streams`,
      );
    if (writer.leftOut > 0)
      process.stderr.write(
        `coracle-tap: ${count(writer.leftOut, 'byte')} crossed and are not in the capture: it was recorded without --payload\n`,
      );
    return 0;
  },
};

/** DATA and EOF. */
function isData(type: number): boolean {
  return type === 1 || type === 2;
}

interface Target extends Disposable {
  write(bytes: string | Buffer): void;
  room(): Promise<void> | undefined;
}

function openTarget(path: string | undefined): Target {
  if (path === undefined) {
    const output = new Output();
    return {
      write: (bytes) => (typeof bytes === 'string' ? output.text(bytes) : output.bytes(bytes)),
      room: () => output.room(),
      [Symbol.dispose]: () => output.flush(),
    };
  }
  const descriptor = create(path);
  return {
    write: (bytes) => void writeAll(descriptor, Buffer.from(bytes as string)),
    room: () => undefined,
    [Symbol.dispose]: () => closeSync(descriptor),
  };
}

/** What a user typed is for the owner's eyes. */
function create(path: string): number {
  try {
    return openSync(path, 'wx', 0o600);
  } catch (cause) {
    throw new TapError('output', `cannot create ${path}: ${(cause as Error).message}`, { cause });
  }
}

function writeAll(descriptor: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
}

abstract class Writer {
  /** Bytes that crossed and are not in the capture. */
  leftOut = 0;
  protected readonly target: Target;
  constructor(target: Target) {
    this.target = target;
  }
  piece(piece: StreamPiece): void {
    if (piece.kind === 'left out') this.leftOut += piece.length;
    this.write(piece);
  }
  protected abstract write(piece: StreamPiece): void;
  end(): void {}
}

class RawWriter extends Writer {
  protected write(piece: StreamPiece): void {
    if (piece.kind === 'bytes') this.target.write(Buffer.from(piece.bytes));
  }
}

/** Lines stay lines; everything else that a terminal would obey becomes an escape. */
class TextWriter extends Writer {
  readonly #decoder = new TextDecoder();
  #inLine = false;

  protected write(piece: StreamPiece): void {
    if (piece.kind === 'bytes') this.#text(this.#decoder.decode(piece.bytes, { stream: true }));
    else if (piece.kind === 'left out') this.#note(`${count(piece.length, 'byte')} at ${piece.offset}`);
    else if (piece.kind === 'missing')
      this.#note(`${count(piece.length, 'byte')} at ${piece.offset} are not in the capture`);
    else this.#note(`end at ${piece.offset}`);
  }

  override end(): void {
    this.#text(this.#decoder.decode());
    if (this.#inLine) this.target.write('\n');
  }

  #text(text: string): void {
    if (text === '') return;
    const lines = text.replaceAll('\r\n', '\n').split('\n').map(printable);
    this.target.write(lines.join('\n'));
    this.#inLine = lines.at(-1) !== '';
  }

  #note(text: string): void {
    this.target.write(`${this.#inLine ? '\n' : ''}[${text}]\n`);
    this.#inLine = false;
  }
}

const HEX_COLUMNS = 16;

class HexWriter extends Writer {
  protected write(piece: StreamPiece): void {
    const at = `+${formatSpan(piece.timeNs)}`;
    if (piece.kind !== 'bytes') {
      const length = 'length' in piece ? `, ${count(piece.length, 'byte')}` : '';
      this.target.write(`${at}  ${piece.kind} at ${piece.offset}${length}\n`);
      return;
    }
    this.target.write(`${at}\n`);
    for (let from = 0; from < piece.bytes.length; from += HEX_COLUMNS) {
      const row = piece.bytes.subarray(from, from + HEX_COLUMNS);
      const hex = row
        .toString('hex')
        .replaceAll(/../g, '$& ')
        .padEnd(HEX_COLUMNS * 3);
      const text = row.toString('latin1').replaceAll(/[^\x20-\x7e]/g, '.');
      this.target.write(`${(piece.offset + from).toString(16).padStart(8, '0')}  ${hex} ${text}\n`);
    }
  }
}
