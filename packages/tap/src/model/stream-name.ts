/** How people name a stream: by its id, or by whose it is. */
import { TapError } from '../errors.ts';
import type { RecordView } from '../read/record-view.ts';
import { type Names, processNumber, type StreamKindName, streamKind, streamKindNames } from './names.ts';

export const streamNameHelp =
  'STREAM is a stream id (9), or CONTAINER.stdout, CONTAINER/EXEC.stdin, or #PROCESS.stderr; where the capture has several sandboxes, SANDBOX: before it';

export interface StreamName {
  readonly text: string;
  matches(record: RecordView, names: Names): boolean;
}

/** @throws TapError usage */
export function parseStreamName(text: string): StreamName {
  const colon = text.indexOf(':');
  const sandbox = colon < 0 ? undefined : text.slice(0, colon);
  const rest = text.slice(colon + 1);
  const inSandbox = (record: RecordView): boolean => sandbox === undefined || record.sandbox === sandbox;
  if (/^\d+$/.test(rest)) {
    const id = Number(rest);
    return { text, matches: (record) => record.id === id && inSandbox(record) };
  }
  const dot = rest.lastIndexOf('.');
  const kind = rest.slice(dot + 1);
  if (dot < 1 || !isKind(kind)) throw new TapError('usage', `${text} is no stream: ${streamNameHelp}`);
  const who = rest.slice(0, dot);
  const process = /^#(\d+)$/.exec(who);
  if (process) {
    const number = Number(process[1]);
    return {
      text,
      matches: (record) =>
        processNumber(record.id) === number && streamKind(record.id) === kind && inSandbox(record),
    };
  }
  const slash = who.indexOf('/');
  const container = slash < 0 ? who : who.slice(0, slash);
  const exec = slash < 0 ? '' : who.slice(slash + 1);
  return {
    text,
    matches: (record, names) => {
      if (streamKind(record.id) !== kind || !inSandbox(record)) return false;
      const name = names.process(processNumber(record.id));
      return name?.container === container && name.exec === exec;
    },
  };
}

function isKind(text: string): text is StreamKindName {
  return (streamKindNames as readonly string[]).includes(text);
}
