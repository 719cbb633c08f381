/** Terminal sessions, as far as the capture holds what they printed. Never what was typed. */
import { TextDecoder } from 'node:util';
import { decodeControlRecords, FrameType } from '@coracle/wire';
import { processNumber } from '../model/names.ts';
import type { SandboxFlow } from '../model/sandbox-flow.ts';
import { StreamBytes } from '../model/stream-bytes.ts';
import type { RecordView } from '../read/record-view.ts';
import { formatBytes, printable } from '../words/text.ts';
import type { TerminalData, TerminalEvent } from './data.ts';
import { rounded } from './series.ts';
import { shortProcess } from './words.ts';

/** Of one session, and of a page. */
const MOST_CHARACTERS = 4 * 1024 * 1024;
const MOST_CHARACTERS_IN_ALL = 16 * 1024 * 1024;
/** Output that comes this close together is drawn as one. */
const SAME_MS = 4;

interface Session {
  readonly process: number;
  readonly output: StreamBytes;
  readonly control: StreamBytes;
  readonly decoder: TextDecoder;
  readonly events: [number, 'o' | 'r', string][];
  readonly size: { readonly columns: number; readonly rows: number } | undefined;
  characters: number;
  leftOut: boolean;
  cut: boolean;
}

export class Terminals {
  readonly #sessions = new Map<SandboxFlow, Map<number, Session>>();
  readonly #withPayload: boolean;
  #characters = 0;

  constructor(withPayload: boolean) {
    this.#withPayload = withPayload;
  }

  take(record: RecordView, flow: SandboxFlow): void {
    if (record.isEvent || record.type !== FrameType.DATA) return;
    const kind = record.id % 4;
    if (kind !== 0 && kind !== 2) return;
    const process = flow.processes.get(processNumber(record.id));
    if (process === undefined || !(process.made?.terminal ?? process.size !== undefined)) return;
    const session = this.#session(flow, process.number, process.size);
    for (const piece of (kind === 2 ? session.output : session.control).take(record)) {
      const atMs = rounded(piece.timeNs / 1e6);
      if (piece.kind === 'left out' && kind === 2) session.leftOut = true;
      if (piece.kind !== 'bytes') continue;
      if (kind === 2) this.#text(session, atMs, session.decoder.decode(piece.bytes, { stream: true }));
      else this.#sizes(session, atMs, piece.bytes);
    }
  }

  #session(flow: SandboxFlow, process: number, size: Session['size']): Session {
    let sessions = this.#sessions.get(flow);
    if (sessions === undefined) {
      sessions = new Map();
      this.#sessions.set(flow, sessions);
    }
    let session = sessions.get(process);
    if (session === undefined) {
      session = {
        process,
        output: new StreamBytes(),
        control: new StreamBytes(),
        decoder: new TextDecoder(),
        events: [],
        size,
        characters: 0,
        leftOut: false,
        cut: false,
      };
      sessions.set(process, session);
    }
    return session;
  }

  #text(session: Session, atMs: number, text: string): void {
    if (!this.#withPayload || text === '') return;
    if (
      session.characters + text.length > MOST_CHARACTERS ||
      this.#characters + text.length > MOST_CHARACTERS_IN_ALL
    )
      session.cut = true;
    if (session.cut) return;
    session.characters += text.length;
    this.#characters += text.length;
    const before = session.events.at(-1);
    if (before?.[1] === 'o' && atMs - before[0] < SAME_MS) before[2] += text;
    else session.events.push([atMs, 'o', text]);
  }

  #sizes(session: Session, atMs: number, bytes: Buffer): void {
    try {
      for (const one of decodeControlRecords(bytes))
        if (one.kind === 'resize') session.events.push([atMs, 'r', `${one.columns}x${one.rows}`]);
    } catch {
      // A broken record is what `diagnose` is for.
    }
  }

  of(flow: SandboxFlow): TerminalData[] {
    return [...(this.#sessions.get(flow)?.values() ?? [])].map((session): TerminalData => {
      const { process, size, events, leftOut, cut } = session;
      const missing = leftOut
        ? 'The capture does not hold what it printed: record it with --payload.'
        : this.#withPayload
          ? undefined
          : 'The capture holds what it printed: report --payload puts it here.';
      return {
        process,
        label: printable(shortProcess(flow.names, process)),
        columns: size?.columns || 80,
        rows: size?.rows || 24,
        events: missing === undefined ? (events as TerminalEvent[]) : undefined,
        note: missing ?? (cut ? `Only the first ${formatBytes(session.characters)} are here.` : ''),
      };
    });
  }
}
