/**
 * The sequence diagram of one sandbox: who said what to whom. DATA is one step for each run of it; WINDOW is in the
 * plots. Of requests and answers it tells what was asked and how it ended, never what was in them.
 */
import {
  CaptureEvent,
  codeName,
  decodeControlRecords,
  decodeExit,
  decodeFailure,
  FrameType,
} from '@coracle/wire';
import type { ControlMessage } from '../model/messages.ts';
import { processNumber, streamKind } from '../model/names.ts';
import type { SandboxFlow } from '../model/sandbox-flow.ts';
import type { RecordView } from '../read/record-view.ts';
import { describeExit } from '../words/explain.ts';
import { count, formatBytes, formatSpan, printable } from '../words/text.ts';
import type { LaneData, StepData, StepKind } from './data.ts';
import { rounded } from './series.ts';
import { shortProcess, target } from './words.ts';

/** At a capture's beginning, and at its end. */
const MOST_STEPS = 1000;
const MOST_ASKED = 8192;
const AGENT = 'agent';

interface Step {
  readonly number: number;
  readonly timeNs: number;
  readonly from: string;
  readonly to: string;
  readonly kind: StepKind;
  text: string;
  readonly makes?: string;
  readonly bad?: boolean;
  run?: Run;
}

/** DATA of one stream, with nothing else of its process in between. */
interface Run {
  readonly id: number;
  frames: number;
  bytes: number;
  untilNs: number;
}

interface Asked {
  readonly timeNs: number;
  readonly what: string;
}

export class Steps {
  readonly #first: Step[] = [];
  #last: Step[] = [];
  #leftOut = 0;
  readonly #clients = new Map<string, { readonly label: string; readonly note: string }>();
  readonly #asked = new Map<string, Asked>();
  /** By process: the runs that may go on. */
  readonly #runs = new Map<number, Map<number, Step>>();
  #section = 0;

  /** After the flow has taken it. */
  take(record: RecordView, flow: SandboxFlow, message: ControlMessage | undefined): void {
    this.#section = record.section;
    if (record.isEvent) this.#event(record);
    else if (record.type === FrameType.DATA && record.id % 4 !== 0) this.#data(record);
    else if (message?.kind === 'request') this.#request(record, flow, message.method);
    else if (message?.kind === 'response') this.#answer(record, message);
    else if (record.type !== FrameType.WINDOW) this.#frame(record);
  }

  #client(connection: number): string {
    return `client ${this.#section}.${connection}`;
  }

  #add(record: RecordView, step: Omit<Step, 'number' | 'timeNs'>): Step {
    const added = { number: record.number, timeNs: record.timeNs, ...step };
    if (this.#first.length < MOST_STEPS) this.#first.push(added);
    else {
      this.#last.push(added);
      if (this.#last.length > 2 * MOST_STEPS) {
        this.#leftOut += MOST_STEPS;
        this.#last = this.#last.slice(MOST_STEPS);
      }
    }
    return added;
  }

  #event(record: RecordView): void {
    const { connection, eventText, eventValue, event } = record;
    const code = record.eventCode === 0 ? '' : ` (${codeName(record.eventCode)})`;
    const note = (lane: string, text: string, bad = false): void =>
      void this.#add(record, { from: lane, to: lane, kind: 'event', text, bad });
    switch (event) {
      case CaptureEvent.link_opening:
        note(AGENT, 'the proxy dials');
        break;
      case CaptureEvent.link_open:
        note(AGENT, 'the link is open');
        break;
      case CaptureEvent.link_closed:
        note(AGENT, `the link ends${code}`, true);
        break;
      case CaptureEvent.client_bound: {
        const label = eventText === '' ? `client ${connection}` : eventText;
        const pid = eventValue === 0 ? '' : `, pid ${eventValue}`;
        this.#clients.set(this.#client(connection), { label, note: `client ${connection}${pid}` });
        note(this.#client(connection), 'connects');
        break;
      }
      case CaptureEvent.client_closed:
        note(this.#client(connection), `goes${code}`, code !== '' && !code.includes('cancelled'));
        break;
      default:
    }
  }

  #data(record: RecordView): void {
    const process = processNumber(record.id);
    let runs = this.#runs.get(process);
    if (runs === undefined) {
      runs = new Map();
      this.#runs.set(process, runs);
    }
    const known = runs.get(record.id);
    const run = known?.run;
    if (run !== undefined) {
      run.frames++;
      run.bytes += record.length;
      run.untilNs = record.timeNs;
      return;
    }
    const ends = this.#ends(record, process);
    const step = this.#add(record, { ...ends, kind: 'data', text: '' });
    step.run = { id: record.id, frames: 1, bytes: record.length, untilNs: record.timeNs };
    runs.set(record.id, step);
  }

  /** From whom to whom a frame of a process goes. */
  #ends(record: RecordView, process: number): { from: string; to: string } {
    const own = `process ${process}`;
    // To or from nobody: a note on the process.
    const client = record.connection === 0 ? own : this.#client(record.connection);
    return record.direction === 1 ? { from: client, to: own } : { from: own, to: client };
  }

  #frame(record: RecordView): void {
    const { type, connection } = record;
    const client = connection === 0 ? AGENT : this.#client(connection);
    if (type === FrameType.GOAWAY) {
      const { code } = attempt(() => decodeFailure(record.payload)) ?? { code: undefined };
      const text = `goodbye${code === undefined ? '' : ` (${codeName(code)})`}`;
      const [from, to] = record.direction === 1 ? [client, AGENT] : [AGENT, client];
      this.#add(record, {
        from,
        to,
        kind: 'event',
        text,
        bad: code !== undefined && codeName(code) !== 'cancelled',
      });
      return;
    }
    if (type === FrameType.CANCEL) {
      const asked = this.#asked.get(`${connection} ${record.id}`);
      this.#add(record, {
        from: client,
        to: AGENT,
        kind: 'control',
        text: `no longer waits${asked ? ` for ${asked.what}` : ''}`,
      });
      return;
    }
    this.#ofProcess(record);
  }

  #request(record: RecordView, flow: SandboxFlow, method: string): void {
    const named = flow.names.target(record);
    const of = named === undefined ? '' : target(named);
    const what = `${method || 'a request'}${of === '' ? '' : ` ${of}`}`;
    if (this.#asked.size >= MOST_ASKED) this.#asked.delete(this.#asked.keys().next().value as string);
    this.#asked.set(`${record.connection} ${record.id}`, { timeNs: record.timeNs, what });
    const from = record.own ? AGENT : this.#client(record.connection);
    this.#add(record, {
      from,
      to: AGENT,
      kind: 'request',
      text: record.own ? `the proxy asks: ${what}` : what,
    });
  }

  #answer(record: RecordView, { method, error, body }: ControlMessage & { kind: 'response' }): void {
    const key = `${record.connection} ${record.id}`;
    const asked = this.#asked.get(key);
    this.#asked.delete(key);
    if (record.connection === 0) return;
    const what = asked?.what ?? (method || 'a request');
    const took = asked === undefined ? '' : ` ${formatSpan(record.timeNs - asked.timeNs)}`;
    const made = (body?.process as { process?: number } | undefined)?.process;
    this.#add(record, {
      from: AGENT,
      to: this.#client(record.connection),
      kind: error === undefined ? 'answer' : 'failure',
      text: error === undefined ? `${what} ✓${took}` : `${what} ✗ ${codeName(error.code)}${took}`,
      bad: error !== undefined,
      ...(typeof made === 'number' && made > 0 ? { makes: `process ${made}` } : {}),
    });
  }

  #ofProcess(record: RecordView): void {
    const process = processNumber(record.id);
    const told = tellers[record.type]?.(record);
    if (told === undefined) return;
    // What comes next of its data is another run.
    this.#runs.delete(process);
    this.#add(record, { ...this.#ends(record, process), ...told });
  }

  data(flow: SandboxFlow): {
    steps: StepData[];
    leftOut: { count: number; behind: number };
    lanes: LaneData[];
  } {
    const cut = Math.max(0, this.#last.length - MOST_STEPS);
    const all = [...this.#first, ...this.#last.slice(cut)];
    const steps = all.map(({ number, timeNs, run, from, to, kind, text, bad, makes }): StepData => {
      const words = run === undefined ? text : runText(run);
      return {
        number,
        atMs: rounded(timeNs / 1e6),
        from,
        to,
        kind,
        text: printable(words),
        ...(run === undefined ? {} : { untilMs: rounded(run.untilNs / 1e6), stream: streamKind(run.id) }),
        ...(makes === undefined ? {} : { makes }),
        ...(bad ? { bad } : {}),
      };
    });
    const lanes = [...new Set(all.flatMap(({ from, to }) => [from, to]))].map((id) => this.#lane(id, flow));
    return { steps, leftOut: { count: this.#leftOut + cut, behind: MOST_STEPS }, lanes };
  }

  #lane(id: string, flow: SandboxFlow): LaneData {
    if (id === AGENT) return { id, kind: 'agent', label: 'agent', note: 'in the guest' };
    const process = /^process (\d+)$/.exec(id)?.[1];
    if (process !== undefined)
      return { id, kind: 'process', label: printable(shortProcess(flow.names, Number(process))), note: id };
    const { label, note } = this.#clients.get(id) ?? { label: id.replace(/\d+\./, ''), note: '' };
    return { id, kind: 'client', label: printable(label), note };
  }
}

function runText({ id, frames, bytes }: Run): string {
  return `${streamKind(id)}: ${formatBytes(bytes)} in ${count(frames, 'frame')}`;
}

type Told = Pick<Step, 'kind' | 'text' | 'bad'>;

const tellers: Partial<Record<number, (record: RecordView) => Told | undefined>> = {
  [FrameType.DATA]: (record) => {
    if (record.redacted) return undefined;
    const told = (attempt(() => decodeControlRecords(record.payload)) ?? []).map((one) =>
      one.kind === 'signal' ? `signal ${one.signal}` : `size ${one.columns}×${one.rows}`,
    );
    return { kind: 'control', text: told.join(', ') };
  },
  [FrameType.EOF]: (record) => ({ kind: 'end', text: `${streamKind(record.id)} ends at ${record.offset}` }),
  [FrameType.STOP]: (record) => ({ kind: 'end', text: `${streamKind(record.id)} is not wanted` }),
  [FrameType.ATTACH]: () => ({ kind: 'attach', text: 'attaches' }),
  [FrameType.ATTACHED]: () => ({ kind: 'attach', text: 'is attached' }),
  [FrameType.REFUSED]: (record) => {
    const failure = attempt(() => decodeFailure(record.payload));
    return { kind: 'failure', text: `refused${failure ? ` (${codeName(failure.code)})` : ''}`, bad: true };
  },
  [FrameType.DETACHED]: () => ({ kind: 'attach', text: 'was taken over', bad: true }),
  [FrameType.EXIT]: (record) => {
    const exit = attempt(() => decodeExit(record.payload));
    if (exit === undefined) return undefined;
    return { kind: 'exit', text: describeExit(exit.cause, exit.waitStatus), bad: exit.waitStatus !== 0 };
  },
};

function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}
