import { TextDecoder } from 'node:util';
import { decodeControlRecords } from '@coracle/wire';
import { TapError } from '../errors.ts';
import { Flows } from '../model/flows.ts';
import { StreamBytes } from '../model/stream-bytes.ts';
import { parseStreamName, streamNameHelp } from '../model/stream-name.ts';
import { readCapture } from '../read/read-file.ts';
import type { RecordView } from '../read/record-view.ts';
import { DamageReport } from '../words/damage.ts';
import { jsonLine } from '../words/text.ts';
import { type Command, parseCommand } from './command.ts';
import { writeNewFile } from './new-file.ts';

export const cast: Command = {
  usage: 'cast FILE PROCESS --output FILE [--input]',
  summary:
    'write a terminal session as an asciicast v2 file, which asciinema plays: output, sizes, and input if wanted',
  options: {
    PROCESS: 'CONTAINER, CONTAINER/EXEC or #PROCESS, with SANDBOX: before it where the capture has several',
    '--output FILE': 'the asciicast; it must not exist',
    '--input': 'with what was typed: passwords, too',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['FILE', 'PROCESS'], {
      output: { type: 'string', short: 'o' },
      input: { type: 'boolean', default: false },
    });
    if (values.output === undefined) throw new TapError('usage', '--output FILE is missing');
    const [path = '', who = ''] = positionals;
    const session = new Session(who, values.input);
    const report = new DamageReport();
    const flows = new Flows();
    const reader = await readCapture(
      path,
      {
        record: (record) => {
          flows.take(record);
          if (!record.isEvent && record.type <= 2) session.take(record, flows);
        },
        damage: (damage) => report.damage(damage),
        counters: (counters) => report.counters(counters),
      },
      { signal },
    );
    report.end(reader);
    session.check(path);
    writeNewFile(values.output, session.text(Number(reader.startNs / 1_000_000_000n)));
    return 0;
  },
};

/** A day of a busy terminal; what is longer is no session to be looked at. */
const MAX_TEXT_CHARACTERS = 256 * 1024 * 1024;

interface Bytes {
  readonly bytes: StreamBytes;
  readonly decoder: TextDecoder;
  /** Of the event: o, i. */
  readonly code: string;
}

/** https://docs.asciinema.org/manual/asciicast/v2/: a header line, then a line for each event. */
class Session {
  readonly #who: string;
  readonly #streams;
  readonly #output: Bytes = { bytes: new StreamBytes(), decoder: new TextDecoder(), code: 'o' };
  readonly #input: Bytes = { bytes: new StreamBytes(), decoder: new TextDecoder(), code: 'i' };
  readonly #control = new StreamBytes();
  #firstNs: number | undefined;
  #size = { columns: 80, rows: 24 };
  readonly #lines: string[] = [];
  #characters = 0;
  #seen = false;
  #leftOut = false;

  constructor(who: string, input: boolean) {
    this.#who = who;
    const name = (kind: string) => parseStreamName(`${who}.${kind}`);
    this.#streams = {
      stdout: name('stdout'),
      control: name('control'),
      ...(input ? { stdin: name('stdin') } : {}),
    };
  }

  take(record: RecordView, flows: Flows): void {
    const flow = flows.of(record.sandbox);
    const { stdout, control, stdin } = this.#streams as Record<string, ReturnType<typeof parseStreamName>>;
    if (stdout?.matches(record, flow.names)) {
      this.#begin(record, flow.process(Math.floor(record.id / 4)).size);
      this.#text(record, this.#output);
    } else if (stdin?.matches(record, flow.names)) this.#text(record, this.#input);
    else if (control?.matches(record, flow.names)) this.#resize(record);
  }

  #begin(record: RecordView, size: { columns: number; rows: number } | undefined): void {
    if (this.#seen) return;
    this.#seen = true;
    this.#firstNs = record.timeNs;
    if (size !== undefined) this.#size = { columns: size.columns, rows: size.rows };
  }

  #text(record: RecordView, { bytes, decoder, code }: Bytes): void {
    for (const piece of bytes.take(record)) {
      if (piece.kind === 'left out') this.#leftOut = true;
      if (piece.kind === 'bytes')
        this.#event(piece.timeNs, code, decoder.decode(piece.bytes, { stream: true }));
    }
  }

  #resize(record: RecordView): void {
    for (const piece of this.#control.take(record)) {
      if (piece.kind !== 'bytes') continue;
      for (const one of decodeControlRecords(piece.bytes))
        if (one.kind === 'resize') this.#event(piece.timeNs, 'r', `${one.columns}x${one.rows}`);
    }
  }

  /** What comes before the first output is not shown. */
  #event(timeNs: number, code: string, data: string): void {
    if (this.#firstNs === undefined || data === '' || this.#characters > MAX_TEXT_CHARACTERS) return;
    const line = jsonLine([Math.round((timeNs - this.#firstNs) / 1e3) / 1e6, code, data]);
    this.#characters += line.length;
    this.#lines.push(line);
  }

  /** @throws TapError not-found, no-payload */
  check(path: string): void {
    if (!this.#seen)
      throw new TapError('not-found', `no output of ${this.#who} is in ${path}; ${streamNameHelp}`);
    if (this.#leftOut)
      throw new TapError(
        'no-payload',
        `${path} does not hold what ${this.#who} has printed: record it with --payload`,
      );
  }

  text(timestamp: number): string {
    const { columns: width, rows: height } = this.#size;
    return [jsonLine({ version: 2, width, height, timestamp }), ...this.#lines, ''].join('\n');
  }
}
