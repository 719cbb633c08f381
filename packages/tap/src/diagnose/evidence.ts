/** The frames that prove something, in words: a second reading of the capture. */
import type { ControlMessage } from '../model/messages.ts';
import { NamesBySandbox } from '../model/names-by-sandbox.ts';
import { readCapture } from '../read/read-file.ts';
import { explain, route, typeName } from '../words/explain.ts';
import { formatClock } from '../words/text.ts';

export interface EvidenceOptions {
  readonly signal: AbortSignal;
  /** Of requests and answers, what was in them: true unless given. */
  readonly fields?: boolean;
}

/** By number; none when the capture is piped in, which can be read once. */
export async function explainRecords(
  path: string,
  wanted: ReadonlySet<number>,
  { signal, fields = true }: EvidenceOptions,
): Promise<Map<number, string>> {
  const lines = new Map<number, string>();
  if (wanted.size === 0 || path === '-') return lines;
  const names = new NamesBySandbox();
  await readCapture(
    path,
    {
      record: (record) => {
        const own = names.of(record);
        const message = own.take(record);
        if (!wanted.has(record.number)) return;
        const time = formatClock(record.startNs, record.timeNs);
        const words = explain(record, own, fields ? message : withoutFields(message));
        lines.set(record.number, `#${record.number} ${time} ${route(record)} ${typeName(record)}: ${words}`);
      },
    },
    { signal },
  );
  return lines;
}

function withoutFields(message: ControlMessage | undefined): ControlMessage | undefined {
  if (message === undefined) return undefined;
  if (message.kind === 'request') return { ...message, body: undefined };
  const error = message.error === undefined ? undefined : { ...message.error, message: '' };
  return { ...message, body: undefined, error };
}
