/** Which records are wanted: by sandbox, container, exec, stream, type, connection, time. */
import { CaptureEvent, FrameType } from '@coracle/wire';
import { TapError } from '../errors.ts';
import type { RecordView } from '../read/record-view.ts';
import { isOfProcess, isOfStream, type Names, processNumber, streamKindNames } from './names.ts';

export interface FilterOptions {
  readonly sandbox?: string | undefined;
  readonly container?: string | undefined;
  readonly exec?: string | undefined;
  /** A stream's id, or one of stdin, stdout, stderr, control. */
  readonly stream?: string | undefined;
  /** Names of frame types or events, separated by commas. */
  readonly type?: string | undefined;
  readonly connection?: string | undefined;
  /** "+1.5": seconds after the first record. */
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

export const filterOptions = {
  sandbox: { type: 'string' },
  container: { type: 'string' },
  exec: { type: 'string' },
  stream: { type: 'string' },
  type: { type: 'string' },
  connection: { type: 'string' },
  from: { type: 'string' },
  to: { type: 'string' },
} as const;

export const filterHelp = {
  '--sandbox ID': 'only this sandbox',
  '--container ID': 'only this container: its processes, and the requests that name it',
  '--exec ID': 'only this exec',
  '--stream STREAM': 'a stream id, or stdin, stdout, stderr or control',
  '--type TYPE,…': 'types of frames and events: DATA,WINDOW,client_closed',
  '--connection N': 'only this client of the proxy',
  '--from TIME': 'from here on: +1.5 is 1.5 s after the first record; or 14:03:22.5, or an ISO date',
  '--to TIME': 'up to here',
} as const;

export type Filter = (record: RecordView, names: Names, startNs: bigint) => boolean;

/** @throws TapError usage */
export function makeFilter(options: FilterOptions): Filter {
  const tests: Filter[] = [];
  const { sandbox, container, exec, stream, type, connection } = options;
  if (sandbox !== undefined) tests.push((record) => record.sandbox === sandbox);
  if (connection !== undefined) {
    const wanted = number(connection, '--connection');
    tests.push((record) => record.connection === wanted);
  }
  if (type !== undefined) tests.push(ofType(type));
  if (stream !== undefined) tests.push(ofStream(stream));
  if (container !== undefined || exec !== undefined) {
    tests.push((record, names) => {
      const target = targetOf(record, names);
      if (target === undefined) return false;
      return (
        (container === undefined || target.container === container) &&
        (exec === undefined || target.exec === exec)
      );
    });
  }
  tests.push(...ofTime(options.from, options.to));
  if (tests.length === 0) return () => true;
  return (record, names, startNs) => tests.every((test) => test(record, names, startNs));
}

/** Whose a record is; undefined for one of the link, or of a process that was made before the capture. */
export function targetOf(record: RecordView, names: Names): { container: string; exec: string } | undefined {
  if (record.isEvent) return undefined;
  if (isOfStream(record.type) || isOfProcess(record.type)) return names.process(processNumber(record.id));
  if (
    record.type === FrameType.REQUEST ||
    record.type === FrameType.RESPONSE ||
    record.type === FrameType.CANCEL
  )
    return names.target(record);
  return undefined;
}

const typeNumbers = new Map<string, number>(Object.entries(FrameType));
const eventNumbers = new Map<string, number>(Object.entries(CaptureEvent));

function ofType(list: string): Filter {
  const types = new Set<number>();
  const events = new Set<number>();
  for (const word of list.split(',')) {
    const type = typeNumbers.get(word.toUpperCase());
    const event = eventNumbers.get(word.toLowerCase());
    if (type !== undefined) types.add(type);
    else if (event !== undefined) events.add(event);
    else {
      const known = [...typeNumbers.keys(), ...eventNumbers.keys()].join(', ');
      throw new TapError('usage', `there is no type ${word}; there are ${known}`);
    }
  }
  return (record) => (record.isEvent ? events.has(record.event) : types.has(record.type));
}

function ofStream(text: string): Filter {
  const kind = (streamKindNames as readonly string[]).indexOf(text);
  const id = kind >= 0 ? undefined : number(text, '--stream');
  return (record) =>
    !record.isEvent &&
    isOfStream(record.type) &&
    (id === undefined ? record.id % 4 === kind : record.id === id);
}

function number(text: string, option: string): number {
  if (!/^\d{1,10}$/.test(text)) throw new TapError('usage', `${option} needs a number, not ${text}`);
  return Number(text);
}

/** A place in time: nanoseconds after the first record, given that one's own time. */
type Moment = (startNs: bigint) => number;

function ofTime(from: string | undefined, to: string | undefined): Filter[] {
  const begin = from === undefined ? undefined : moment(from, '--from');
  const end = to === undefined ? undefined : moment(to, '--to');
  return [
    ...(begin ? [((record, _names, startNs) => record.timeNs >= begin(startNs)) satisfies Filter] : []),
    ...(end ? [((record, _names, startNs) => record.timeNs <= end(startNs)) satisfies Filter] : []),
  ];
}

function moment(text: string, option: string): Moment {
  if (/^\+\d+(\.\d+)?$/.test(text)) return () => Number(text.slice(1)) * 1e9;
  const clock = /^(\d{1,2}):(\d{2})(?::(\d{2}(?:\.\d+)?))?$/.exec(text);
  if (clock) {
    return (startNs) => {
      const startMs = Number(startNs / 1_000_000n);
      const day = new Date(startMs);
      day.setHours(Number(clock[1]), Number(clock[2]), 0, 0);
      return (day.getTime() - startMs) * 1e6 + Number(clock[3] ?? 0) * 1e9;
    };
  }
  const ms = Date.parse(text);
  if (Number.isNaN(ms))
    throw new TapError(
      'usage',
      `${option} needs a time like +1.5, 14:03:22 or 2026-01-31T14:03:22Z, not ${text}`,
    );
  return (startNs) => (ms - Number(startNs / 1_000_000n)) * 1e6;
}
