/** A record as one line of JSON. Built by hand: a capture has millions, and JSON.stringify takes three times as long. */
import {
  codeName,
  decodeAttach,
  decodeAttached,
  decodeControlRecords,
  decodeExit,
  decodeFailure,
  decodeWindow,
  FrameType,
} from '@coracle/wire';
import type { ControlMessage } from '../model/messages.ts';
import { isOfProcess, isOfStream, type Names, processNumber, streamKind } from '../model/names.ts';
import type { RecordView } from '../read/record-view.ts';
import { typeName } from './explain.ts';
import { jsonLine } from './text.ts';

const NS_PER_S = 1_000_000_000n;
const directions = ['none', 'to-agent', 'to-client'];

export function recordJson(record: RecordView, names: Names, message?: ControlMessage): string {
  let line = `{"number":${record.number},"time":${seconds(record)},"fileOffset":${record.fileOffset},"sandbox":${quoted(record.sandbox)},"connection":${record.connection},"direction":"${directions[record.direction] ?? 'none'}","type":"${typeName(record)}"`;
  if (record.isEvent) return `${line}${eventFields(record)}}`;
  line += `,"id":${record.id}`;
  const ofStream = isOfStream(record.type);
  if (ofStream || isOfProcess(record.type)) {
    const process = processNumber(record.id);
    line += `,"process":${process}`;
    const name = names.process(process);
    if (name !== undefined) line += `,"container":${quoted(name.container)},"exec":${quoted(name.exec)}`;
    if (ofStream) line += `,"stream":"${streamKind(record.id)}","offset":${record.offset}`;
    line += `,"generation":${record.generation}`;
  }
  line += `,"length":${record.length}`;
  const { digest } = record;
  if (digest !== undefined) line += `,"digest":"${digest}"`;
  if (record.redacted) line += ',"redacted":true';
  if (record.unowned) line += ',"unowned":true';
  if (record.own) line += ',"own":true';
  if (record.type !== FrameType.DATA || record.id % 4 === 0) line += details(record, message);
  return `${line}}`;
}

/** The start as seconds and nanoseconds: calculating with BigInt would take most of a line's time. */
let start = { ns: -1n, seconds: 0, rest: 0 };

/** Seconds since 1970, to the microsecond: a number of JSON has no room for more. */
function seconds({ startNs, timeNs }: RecordView): string {
  if (start.ns !== startNs)
    start = { ns: startNs, seconds: Number(startNs / NS_PER_S), rest: Number(startNs % NS_PER_S) };
  const micros = Math.floor((start.rest + timeNs) / 1000);
  const whole = Math.floor(micros / 1e6);
  return `${start.seconds + whole}.${String(micros - whole * 1e6).padStart(6, '0')}`;
}

const quotedNames = new Map<string, string>();

/** The same few names again and again. */
function quoted(text: string): string {
  let json = quotedNames.get(text);
  if (json === undefined) {
    json = jsonLine(text);
    if (quotedNames.size > 10_000) quotedNames.clear();
    quotedNames.set(text, json);
  }
  return json;
}

function eventFields(record: RecordView): string {
  const code = record.eventCode === 0 ? '' : `,"code":"${codeName(record.eventCode)}"`;
  const text = record.eventText === '' ? '' : `,"text":${jsonLine(record.eventText)}`;
  return `,"value":${record.eventValue}${code}${text}`;
}

function details(record: RecordView, message: ControlMessage | undefined): string {
  try {
    const fields =
      message === undefined ? detailers[record.type]?.(record.payload, record) : messageFields(message);
    return fields === undefined ? '' : `,${jsonLine(fields).slice(1, -1)}`.replace(/,$/, '');
  } catch {
    return ',"unreadable":true';
  }
}

const failure = (payload: Buffer): object => {
  const { code, message } = decodeFailure(payload);
  return { code: codeName(code), message };
};

const detailers: Partial<Record<number, (payload: Buffer, record: RecordView) => object>> = {
  [FrameType.DATA]: (payload, record) => (record.redacted ? {} : { records: decodeControlRecords(payload) }),
  [FrameType.WINDOW]: (payload) => ({ limit: decodeWindow(payload) }),
  [FrameType.ATTACH]: (payload) => {
    const { stdout, stderr } = decodeAttach(payload);
    return { stdout, stderr };
  },
  [FrameType.ATTACHED]: decodeAttached,
  [FrameType.EXIT]: decodeExit,
  [FrameType.REFUSED]: failure,
  [FrameType.GOAWAY]: failure,
  [FrameType.BIND]: (payload) => ({ wanted: payload.toString('latin1') }),
};

function messageFields(message: ControlMessage): object {
  const { method, body } = message;
  const fields = body === undefined ? {} : { message: plain(body) };
  if (message.kind === 'request')
    return { method, idempotencyKey: message.idempotencyKey, timeoutMs: message.timeoutMs, ...fields };
  const { error } = message;
  if (error === undefined) return { method, ...fields };
  return { method, error: { ...error, code: codeName(error.code) } };
}

/** Bytes as text when they are text, large numbers as strings. */
export function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return value.toString();
  if (value instanceof Uint8Array) {
    const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
    const text = bytes.toString('utf8');
    return Buffer.from(text, 'utf8').equals(bytes) ? text : { base64: bytes.toString('base64') };
  }
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, field]) => [name, plain(field)]));
}
