/** All that a capture shows of one sandbox: its link, the proxy's clients, their requests, processes and streams. */
import {
  CaptureEvent,
  codeName,
  Direction,
  decodeAttach,
  decodeAttached,
  decodeControlRecords,
  decodeExit,
  decodeFailure,
  decodeWindow,
  type ExitRecord,
  FrameType,
  MORE,
} from '@coracle/wire';
import type { RecordView } from '../read/record-view.ts';
import type { ControlMessage } from './messages.ts';
import { isOfProcess, isOfStream, Names, processNumber, streamKindNames } from './names.ts';
import { readStreamState, type Seen, StreamFlow } from './stream-flow.ts';

export interface RequestFlow {
  readonly connection: number;
  readonly id: number;
  readonly method: string;
  readonly container: string;
  readonly exec: string;
  readonly asked: Seen;
  /** 0: none. */
  readonly timeoutMs: number;
}

export interface ClientFlow {
  readonly number: number;
  pid: number;
  program: string;
  readonly bound: Seen | undefined;
  last: Seen;
  closed: (Seen & { readonly code: string; readonly text: string }) | undefined;
  /** Bytes that wait in the proxy for it, and its own that wait for the guest; since when. */
  waitsForClient: { readonly bytes: number; readonly since: Seen } | undefined;
  waitsForGuest: { readonly bytes: number; readonly since: Seen } | undefined;
}

export interface SizeSeen extends Seen {
  readonly columns: number;
  readonly rows: number;
}

export class ProcessFlow {
  readonly number: number;
  readonly streams: readonly [StreamFlow, StreamFlow, StreamFlow, StreamFlow];
  /** 0: nobody is known to be attached. */
  owner = 0;
  generation: number | undefined;
  attaches = 0;
  /** From the answered ATTACH; what its client had of the outputs. */
  asked:
    | {
        readonly connection: number;
        readonly generation: number;
        readonly credit: ReturnType<typeof decodeAttach>;
      }
    | undefined;
  attached: Seen | undefined;
  takenOver: (Seen & { readonly from: number })[] = [];
  exit: (Seen & ExitRecord) | undefined;
  /** What the request that made it said. */
  made: (Seen & { readonly stdin: boolean; readonly terminal: boolean }) | undefined;
  size: SizeSeen | undefined;
  resizes = 0;
  /** Its client's connection has ended, and no other has taken it over. */
  abandoned: { readonly client: ClientFlow } | undefined;
  lastSignal: (Seen & { readonly signal: number }) | undefined;
  last: Seen | undefined;

  constructor(number: number) {
    this.number = number;
    const stream = (kind: number): StreamFlow =>
      new StreamFlow(4 * number + kind, streamKindNames[kind] as 'stdin');
    this.streams = [stream(0), stream(1), stream(2), stream(3)];
  }

  get stdin(): StreamFlow {
    return this.streams[1];
  }
  get outputs(): readonly StreamFlow[] {
    return [this.streams[2], this.streams[3]];
  }
  /** Nothing more is to come. */
  get complete(): boolean {
    return (
      this.exit !== undefined && this.outputs.every((stream) => stream.complete || (stream.final ?? 0) === 0)
    );
  }
}

export interface FlowEvents {
  /** A rule of docs/protocol.md was broken. */
  violation?(flow: SandboxFlow, record: RecordView, what: string): void;
  /** An ATTACHED that begins behind what its client, the only owner, has. */
  loss?(flow: SandboxFlow, record: RecordView, what: string): void;
}

/** Processes that are kept; the oldest that are complete make room, and are counted in `folded`. */
const MAX_PROCESSES = 20_000;
const MAX_REQUESTS = 8192;
const MAX_CLIENTS = 20_000;

export class SandboxFlow {
  readonly sandbox: string;
  readonly names = new Names();
  readonly processes = new Map<number, ProcessFlow>();
  readonly requests = new Map<string, RequestFlow>();
  readonly clients = new Map<number, ClientFlow>();
  readonly #events: FlowEvents;
  link: 'unknown' | 'opening' | 'open' | 'closed' = 'unknown';
  linkSince: Seen | undefined;
  linkEnds: (Seen & { readonly code: string; readonly text: string })[] = [];
  /** Clients whose connection ended without being done. */
  clientEnds: (Seen & { readonly code: string; readonly text: string; readonly connection: number })[] = [];
  /** Connections of clients that were ended for a broken rule. */
  violations: (Seen & { readonly code: string; readonly text: string; readonly connection: number })[] = [];
  refusals: (Seen & {
    readonly connection: number;
    readonly process: number;
    readonly code: string;
    readonly message: string;
  })[] = [];
  destroyed = false;
  /** Runs of the capturing process in which this sandbox was seen. */
  sections: Seen[] = [];
  /** The last frame that has come from the guest. */
  lastFromGuest: Seen | undefined;
  /** Frames and payload bytes. */
  frames = 0;
  bytes = 0;
  folded = 0;
  dropped = 0;
  #section = 0;

  constructor(sandbox: string, events: FlowEvents = {}) {
    this.sandbox = sandbox;
    this.#events = events;
  }

  take(record: RecordView): ControlMessage | undefined {
    if (record.section !== this.#section) this.#newSection(record);
    const seen = { number: record.number, timeNs: record.timeNs };
    if (record.isEvent) {
      this.#event(record, seen);
      return undefined;
    }
    this.frames++;
    this.bytes += record.length;
    const client = this.clients.get(record.connection);
    if (record.direction === Direction.toClient && !record.own) this.lastFromGuest = seen;
    if (client !== undefined && record.direction === Direction.toAgent) client.last = seen;
    if (isOfStream(record.type)) this.#streamFrame(record, seen);
    else if (isOfProcess(record.type)) this.#processFrame(record, seen);
    else if (record.type === FrameType.CANCEL) this.requests.delete(`${record.connection} ${record.id}`);
    else return this.#message(record, seen);
    return undefined;
  }

  /** Records of this sandbox are missing: nothing is sure until it is said anew. */
  lost(count: number): void {
    this.dropped += count;
    this.#forget();
  }

  /** Frames may have passed that are not in the capture: a new attachment, credit, answers. */
  #forget(): void {
    this.requests.clear();
    for (const process of this.processes.values()) {
      process.generation = undefined;
      process.owner = 0;
      process.asked = undefined;
      for (const stream of process.streams) stream.forget();
    }
  }

  /** The capturing process is another one: it numbers its clients anew, and those of the old one are gone. */
  #newSection(record: RecordView): void {
    if (this.#section !== 0) {
      this.#forget();
      this.clients.clear();
      this.link = 'unknown';
    }
    this.#section = record.section;
    keep(this.sections, { number: record.number, timeNs: record.timeNs });
  }

  process(number: number): ProcessFlow {
    let process = this.processes.get(number);
    if (process === undefined) {
      if (this.processes.size >= MAX_PROCESSES) this.#makeRoom();
      process = new ProcessFlow(number);
      this.processes.set(number, process);
    }
    return process;
  }

  #makeRoom(): void {
    for (const [number, process] of this.processes) {
      if (!process.complete && this.processes.size < 2 * MAX_PROCESSES) continue;
      this.processes.delete(number);
      this.folded++;
      if (this.processes.size < MAX_PROCESSES * 0.9) return;
    }
  }

  #event(record: RecordView, seen: Seen): void {
    const { connection, event, eventValue: value } = record;
    const end = { ...seen, code: codeName(record.eventCode), text: record.eventText };
    switch (event) {
      case CaptureEvent.link_opening:
      case CaptureEvent.link_open: {
        const state = event === CaptureEvent.link_open ? 'open' : 'opening';
        // The proxy may greet many times before it is answered.
        if (this.link !== state) this.linkSince = seen;
        this.link = state;
        return;
      }
      case CaptureEvent.link_closed:
        this.link = 'closed';
        this.linkSince = seen;
        keep(this.linkEnds, end);
        return;
      case CaptureEvent.client_bound: {
        if (this.clients.size >= MAX_CLIENTS) this.clients.delete(this.clients.keys().next().value as number);
        this.clients.set(connection, {
          number: connection,
          pid: value,
          program: record.eventText,
          bound: seen,
          last: seen,
          closed: undefined,
          waitsForClient: undefined,
          waitsForGuest: undefined,
        });
        return;
      }
      case CaptureEvent.client_closed:
        this.#clientClosed(connection, end);
        return;
      case CaptureEvent.client_queue:
      case CaptureEvent.guest_queue: {
        const client = this.clients.get(connection);
        if (client === undefined) return;
        const field = event === CaptureEvent.client_queue ? 'waitsForClient' : 'waitsForGuest';
        client[field] = value === 0 ? undefined : { bytes: value, since: client[field]?.since ?? seen };
        return;
      }
      case CaptureEvent.stream_state: {
        const state = readStreamState(record.eventText);
        if (state === undefined) return;
        const process = this.process(processNumber(value));
        process.owner = connection;
        process.last ??= seen;
        (process.streams[value % 4] as StreamFlow).begin(state, seen);
        return;
      }
      default:
    }
  }

  #clientClosed(connection: number, end: Seen & { code: string; text: string }): void {
    const client = this.clients.get(connection);
    if (client !== undefined) client.closed = end;
    for (const [key, request] of this.requests)
      if (request.connection === connection) this.requests.delete(key);
    let owned = false;
    for (const process of this.processes.values()) {
      if (process.owner !== connection) continue;
      process.owner = 0;
      if (client !== undefined) process.abandoned = { client };
      owned ||= !process.complete;
    }
    if (end.code === 'invalid_argument') keep(this.violations, { ...end, connection });
    if (end.code !== 'cancelled' && owned) keep(this.clientEnds, { ...end, connection });
    this.names.forget(connection);
  }

  #streamFrame(record: RecordView, seen: Seen): void {
    const process = this.process(processNumber(record.id));
    process.last = seen;
    // Sent before a re-attach, or to nobody.
    if (record.unowned || (process.generation !== undefined && record.generation !== process.generation))
      return;
    if (process.generation === undefined) {
      process.generation = record.generation;
      process.owner = record.connection;
    }
    const stream = process.streams[record.id % 4] as StreamFlow;
    let problem: string | undefined;
    switch (record.type) {
      case FrameType.DATA:
        problem = stream.data(record.offset, record.length, seen);
        if (record.id % 4 === 0 && !record.redacted) this.#controlRecords(process, record, seen);
        break;
      case FrameType.EOF:
        problem = stream.end(record.offset, seen);
        break;
      case FrameType.WINDOW:
        problem =
          record.payload.length === 8
            ? stream.window(record.offset, decodeWindow(record.payload), seen)
            : undefined;
        break;
      case FrameType.STOP:
        stream.stop(seen);
        break;
      default:
    }
    if (problem !== undefined) this.#events.violation?.(this, record, problem);
  }

  #controlRecords(process: ProcessFlow, record: RecordView, seen: Seen): void {
    for (const one of attempt(() => decodeControlRecords(record.payload)) ?? []) {
      if (one.kind === 'signal') process.lastSignal = { ...seen, signal: one.signal };
      else {
        process.size = { ...seen, columns: one.columns, rows: one.rows };
        process.resizes++;
      }
    }
  }

  #processFrame(record: RecordView, seen: Seen): void {
    const process = this.process(processNumber(record.id));
    process.last = seen;
    switch (record.type) {
      case FrameType.ATTACH: {
        const credit = attempt(() => decodeAttach(record.payload));
        if (credit !== undefined)
          process.asked = { connection: record.connection, generation: record.generation, credit };
        return;
      }
      case FrameType.ATTACHED:
        if (!record.unowned) this.#attached(process, record, seen);
        return;
      case FrameType.DETACHED:
        if (process.takenOver.length < 64) process.takenOver.push({ ...seen, from: record.connection });
        return;
      case FrameType.REFUSED: {
        const { code, message } = decodeFailure(record.payload);
        keep(this.refusals, {
          ...seen,
          connection: record.connection,
          process: process.number,
          code: codeName(code),
          message,
        });
        return;
      }
      case FrameType.EXIT: {
        const exit = attempt(() => decodeExit(record.payload));
        if (exit === undefined) return;
        process.exit ??= { ...seen, ...exit };
        if (record.unowned) return;
        for (const [stream, final] of [
          [process.streams[2], exit.stdoutFinal],
          [process.streams[3], exit.stderrFinal],
        ] as const) {
          const problem = stream.end(final, seen);
          if (problem !== undefined) this.#events.violation?.(this, record, problem);
        }
        return;
      }
      default:
    }
  }

  #attached(process: ProcessFlow, record: RecordView, seen: Seen): void {
    const attached = attempt(() => decodeAttached(record.payload));
    if (attached === undefined) return;
    const { asked } = process;
    const credit = asked?.generation === record.generation ? asked.credit : undefined;
    const [control, stdin, stdout, stderr] = process.streams;
    control.attach(attached.control.delivered, { limit: attached.control.limit }, seen);
    stdin.attach(attached.stdin.delivered, { limit: attached.stdin.limit }, seen);
    for (const [stream, start, had] of [
      [stdout, attached.stdoutStart, credit?.stdout],
      [stderr, attached.stderrStart, credit?.stderr],
    ] as const) {
      const only = process.attaches > 0 && process.owner === record.connection;
      if (had !== undefined && start > had.delivered && only && stream.stopped === undefined)
        this.#events.loss?.(
          this,
          record,
          `${stream.kind} goes on at ${start}, and its client has it to ${had.delivered}`,
        );
      stream.attach(start, had ?? {}, seen);
    }
    process.attaches++;
    process.abandoned = undefined;
    process.attached = seen;
    process.owner = record.connection;
    process.generation = record.generation;
  }

  #message(record: RecordView, seen: Seen): ControlMessage | undefined {
    const key = `${record.connection} ${record.id}`;
    const message = this.names.take(record);
    if (record.type === FrameType.RESPONSE) {
      if ((record.frameFlags & MORE) === 0) this.requests.delete(key);
      const made =
        message?.kind === 'response' ? (message.body?.process as MadeProcess | undefined) : undefined;
      if (typeof made === 'object' && made !== null) {
        const process = this.process(made.process);
        process.made ??= { ...seen, stdin: made.stdin, terminal: made.terminal };
        process.size ??= this.#sizes.get(key);
      }
      this.#sizes.delete(key);
      return message;
    }
    if (message?.kind !== 'request') return message;
    if (message.method === 'DestroySandbox') this.destroyed = true;
    const { body } = message;
    const size = { columns: numberOf(body?.columns), rows: numberOf(body?.rows) };
    if (size.columns > 0 && size.rows > 0) this.#sizes.set(key, { ...seen, ...size });
    // The proxy's own are for nobody.
    if (!record.own && this.requests.size < MAX_REQUESTS)
      this.requests.set(key, {
        connection: record.connection,
        id: record.id,
        method: message.method,
        container: this.names.target(record)?.container ?? '',
        exec: this.names.target(record)?.exec ?? '',
        asked: seen,
        timeoutMs: message.timeoutMs,
      });
    return message;
  }

  /** That requests gave, until they are answered. */
  readonly #sizes = new Map<string, SizeSeen>();
}

interface MadeProcess {
  readonly process: number;
  readonly stdin: boolean;
  readonly terminal: boolean;
}

/** The first and the last ones; a loop makes thousands. */
const MOST_KEPT = 1000;

function keep<T>(list: T[], item: T): void {
  if (list.length >= MOST_KEPT) list.splice(MOST_KEPT / 2, 1);
  list.push(item);
}

function numberOf(value: unknown): number {
  return typeof value === 'number' ? value : 0;
}

function attempt<T>(decode: () => T): T | undefined {
  try {
    return decode();
  } catch {
    return undefined;
  }
}
