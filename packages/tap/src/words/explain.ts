/** Says in words what a frame or an event means. Never more than what the capture holds, and always printable. */
import {
  CaptureEvent,
  codeName,
  decodeAttach,
  decodeAttached,
  decodeControlRecords,
  decodeExit,
  decodeFailure,
  decodeWindow,
  FrameType,
  frameTypeName,
} from '@coracle/wire';
import type { ControlMessage } from '../model/messages.ts';
import { describeProcess, describeStreamId, type Names, processNumber } from '../model/names.ts';
import { readStreamState, type StreamStateText } from '../model/stream-flow.ts';
import type { RecordView } from '../read/record-view.ts';
import { count, formatSpan, printable } from './text.ts';

const eventNames = new Map<number, string>(
  Object.entries(CaptureEvent).map(([name, event]) => [event, name]),
);

export function eventName(event: number): string {
  return eventNames.get(event) ?? `event ${event}`;
}

/** The type of a frame, or the name of an event. */
export function typeName(record: RecordView): string {
  return record.isEvent ? eventName(record.event) : frameTypeName(record.type);
}

/** Who sent it to whom. */
export function route(record: RecordView): string {
  const client = record.connection === 0 ? 'nobody' : `client ${record.connection}`;
  if (record.isEvent) return record.connection === 0 ? 'link' : client;
  if (record.own) return record.direction === 1 ? 'proxy → agent' : `proxy → ${client}`;
  return record.direction === 1 ? `${client} → agent` : `agent → ${client}`;
}

/** @param message what a REQUEST or RESPONSE frame made known */
export function explain(record: RecordView, names: Names, message?: ControlMessage): string {
  const words = record.isEvent ? explainEvent(record, names) : explainFrame(record, names, message);
  return printable(record.unowned ? `${words} (went to nobody)` : words);
}

function explainEvent(record: RecordView, names: Names): string {
  const { eventValue: value, eventText: text } = record;
  const why = record.eventCode === 0 ? text : `${text} [${codeName(record.eventCode)}]`;
  switch (record.event) {
    case CaptureEvent.link_opening:
      return 'the proxy connects to the agent';
    case CaptureEvent.link_open:
      return 'the agent has answered: the link is open';
    case CaptureEvent.link_closed:
      return `the link has ended: ${why}`;
    case CaptureEvent.client_bound:
      return value === 0 ? 'a client binds' : `a client binds: ${text || 'a program'}, pid ${value}`;
    case CaptureEvent.client_closed:
      return `the client's connection has ended: ${why}`;
    case CaptureEvent.client_queue:
      return `${count(value, 'byte')} wait in the proxy for this client to read them`;
    case CaptureEvent.guest_queue:
      return `${count(value, 'byte')} of this client wait in the proxy for the guest`;
    case CaptureEvent.already:
      return record.connection === 0
        ? 'the link was there before the capture'
        : 'the client was there before the capture';
    case CaptureEvent.stream_state:
      return explainStreamState(describeStreamId(names, value), readStreamState(text));
    default:
      return 'an event that this version does not know';
  }
}

function explainStreamState(stream: string, state: StreamStateText | undefined): string {
  if (state === undefined) return `${stream} stands somewhere: it can't be read where`;
  const { sent, delivered, limit, stalledForMs } = state;
  const most = limit === undefined ? '' : `, may be sent to ${limit}`;
  const stalled =
    stalledForMs === undefined ? '' : `, and has had no credit for ${formatSpan(stalledForMs * 1e6)}`;
  return `${stream} was sent to ${sent}, delivered to ${delivered}${most}${stalled} when the capture began`;
}

function explainFrame(record: RecordView, names: Names, message: ControlMessage | undefined): string {
  try {
    const explainer = explainers[record.type];
    return explainer === undefined ? 'a frame of an unknown type' : explainer(record, names, message);
  } catch (error) {
    return `a ${frameTypeName(record.type)} that can't be read: ${(error as Error).message}`;
  }
}

type Explainer = (record: RecordView, names: Names, message: ControlMessage | undefined) => string;

const stream = (record: RecordView, names: Names): string => describeStreamId(names, record.id);
const processOf = (record: RecordView, names: Names): string =>
  describeProcess(names, processNumber(record.id));

const explainers: Partial<Record<number, Explainer>> = {
  [FrameType.DATA]: (record, names) => {
    if (record.id % 4 === 0 && !record.redacted) {
      const records = decodeControlRecords(record.payload).map((one) =>
        one.kind === 'signal' ? `signal ${one.signal}` : `size ${one.columns}×${one.rows}`,
      );
      return `${records.join(', ')} for ${processOf(record, names)}`;
    }
    const end = record.offset + record.length;
    return `${stream(record, names)}: ${count(record.length, 'byte')}, ${record.offset} to ${end}`;
  },
  [FrameType.EOF]: (record, names) => `end of ${stream(record, names)} at ${record.offset}`,
  [FrameType.WINDOW]: (record, names) => {
    const limit = decodeWindow(record.payload);
    return `${stream(record, names)}: delivered to ${record.offset}, may be sent to ${limit}`;
  },
  [FrameType.STOP]: (record, names) => `no more of ${stream(record, names)} is wanted`,
  [FrameType.ATTACH]: (record, names) => {
    const { stdout, stderr } = decodeAttach(record.payload);
    return `takes ${processOf(record, names)} over: has stdout to ${stdout.delivered} of at most ${stdout.limit}, stderr to ${stderr.delivered}`;
  },
  [FrameType.ATTACHED]: (record, names) => {
    const { stdin, stdoutStart, stderrStart } = decodeAttached(record.payload);
    return `has ${processOf(record, names)}: stdin from ${stdin.delivered} to at most ${stdin.limit}, stdout from ${stdoutStart}, stderr from ${stderrStart}`;
  },
  [FrameType.REFUSED]: (record, names) => {
    const { code, message } = decodeFailure(record.payload);
    return `may not have ${processOf(record, names)}: ${message} [${codeName(code)}]`;
  },
  [FrameType.EXIT]: (record, names) => {
    const exit = decodeExit(record.payload);
    return `${processOf(record, names)} ${describeExit(exit.cause, exit.waitStatus)}; stdout ends at ${exit.stdoutFinal}, stderr at ${exit.stderrFinal}`;
  },
  [FrameType.DETACHED]: (record, names) => `another client has taken ${processOf(record, names)} over`,
  [FrameType.REQUEST]: (record, _names, message) => {
    if (message?.kind !== 'request') return `request ${record.id} goes on: ${count(record.length, 'byte')}`;
    return `request ${record.id}: ${message.method || 'unreadable'}${describeFields(message.body)}`;
  },
  [FrameType.RESPONSE]: (record, _names, message) => {
    if (message?.kind !== 'response') return `answer ${record.id} goes on: ${count(record.length, 'byte')}`;
    const what = message.method === '' ? `answer ${record.id}` : `answer ${record.id} to ${message.method}`;
    const { error } = message;
    return error === undefined
      ? `${what}: done${describeFields(message.body)}`
      : `${what}: failed [${codeName(error.code)}] ${error.message}`;
  },
  [FrameType.CANCEL]: (record) => `nobody waits for request ${record.id} any more`,
  [FrameType.BIND]: (record) => `wants sandbox ${record.payload.toString('latin1')}`,
  [FrameType.BOUND]: () => 'has its sandbox',
  [FrameType.GOAWAY]: (record) => {
    const { code, message } = decodeFailure(record.payload);
    return `ends the connection: ${message} [${codeName(code)}]`;
  },
};

export function describeExit(cause: string, waitStatus: number): string {
  const signal = waitStatus & 0x7f;
  if (cause === 'out_of_memory') return 'was ended for want of memory';
  if (cause === 'start_failed') return `could not be started (code ${(waitStatus >> 8) & 0xff})`;
  return signal === 0 ? `exited with ${(waitStatus >> 8) & 0xff}` : `was ended by signal ${signal}`;
}

/** The fields that say something, shortly. */
export function describeFields(body: Readonly<Record<string, unknown>> | undefined): string {
  const parts = flatten(body ?? {}, '');
  return parts.length === 0 ? '' : ` (${parts.join(', ')})`;
}

const MAX_FIELD_CHARACTERS = 200;

function flatten(value: Readonly<Record<string, unknown>>, prefix: string): string[] {
  return Object.entries(value).flatMap(([name, field]) => {
    const path = `${prefix}${name}`;
    if (field === undefined || field === '' || field === 0 || field === 0n || field === false) return [];
    if (field instanceof Uint8Array) return field.length === 0 ? [] : [`${path} ${textOf(field)}`];
    if (Array.isArray(field)) {
      if (field.length === 0) return [];
      return [`${path} ${field.every((one) => typeof one !== 'object') ? field.join(' ') : field.length}`];
    }
    if (typeof field === 'object') return flatten(field as Record<string, unknown>, `${path}.`);
    return [field === true ? path : `${path} ${String(field)}`];
  });
}

function textOf(bytes: Uint8Array): string {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString(
    'utf8',
    0,
    MAX_FIELD_CHARACTERS,
  );
  return bytes.length > MAX_FIELD_CHARACTERS ? `${text}… (${bytes.length} bytes)` : text;
}
