/** Reads a capture and says what stands still in it, and why. */
import { frameTypeName } from '@coracle/wire';
import { Flows } from '../model/flows.ts';
import type { ControlMessage } from '../model/messages.ts';
import { describeProcess, describeStreamId, isOfProcess, isOfStream, processNumber } from '../model/names.ts';
import type { SandboxFlow } from '../model/sandbox-flow.ts';
import type { CaptureReader, ReaderEvents } from '../read/capture-reader.ts';
import { readCapture } from '../read/read-file.ts';
import type { RecordView } from '../read/record-view.ts';
import { checkClients } from './clients.ts';
import type { Cause, Check, CheckContext, Finding } from './finding.ts';
import { checkLink, sentence } from './link.ts';
import { checkRequests } from './requests.ts';
import { checkStreams } from './streams.ts';
import { checkTerminals } from './terminals.ts';

/** What proves most comes first. */
const checks: readonly Check[] = [checkLink, checkStreams, checkRequests, checkClients, checkTerminals];

export interface DiagnoseOptions {
  /** What has not moved for so long stands still; 1 s unless given. */
  readonly stallNs?: number;
  readonly signal?: AbortSignal;
  /** What else is to be told of the file. */
  readonly events?: Pick<ReaderEvents, 'damage' | 'counters'> & {
    /** After its sandbox's flow has taken it. */
    record?(record: RecordView, flow: SandboxFlow, message: ControlMessage | undefined): void;
  };
}

export interface Diagnosis {
  readonly findings: readonly Finding[];
  readonly reader: CaptureReader;
  readonly flows: Flows;
}

export const DEFAULT_STALL_NS = 1e9;

/** @throws TapError as readCapture */
export async function diagnose(path: string, options: DiagnoseOptions = {}): Promise<Diagnosis> {
  const { stallNs = DEFAULT_STALL_NS, signal, events } = options;
  const diagnoser = new Diagnoser();
  const { flows } = diagnoser;
  const reader = await readCapture(
    path,
    {
      record: (record) => {
        const message = flows.take(record);
        events?.record?.(record, flows.of(record.sandbox), message);
      },
      counters: (counters) => {
        flows.counters(counters);
        events?.counters?.(counters);
      },
      ...(events?.damage === undefined ? {} : { damage: events.damage }),
    },
    signal === undefined ? {} : { signal },
  );
  const context = { startNs: reader.startNs, endNs: reader.endNs, stallNs };
  const findings = [...flows.sandboxes.values()].flatMap((flow) => diagnoser.findings(flow, context));
  return { findings, reader, flows };
}

/** Takes records as they come; asked at any time, it says what stands still then. */
export class Diagnoser {
  readonly #broken = new BrokenRules();
  readonly flows = new Flows({
    violation: (flow, record, what) => this.#broken.add('protocol_violation', flow, record, what),
    loss: (flow, record, what) => this.#broken.add('data_loss', flow, record, what),
  });

  findings(flow: SandboxFlow, context: CheckContext): Finding[] {
    return [...this.#broken.of(flow), ...checks.flatMap((check) => [...check(flow, context)])];
  }
}

/** Rules of docs/protocol.md that were broken; one that breaks them a thousand times is told once. */
class BrokenRules {
  readonly #found = new Map<string, { finding: Finding; evidence: number[]; times: number }>();

  add(cause: Cause, flow: SandboxFlow, record: RecordView, what: string): void {
    const subject = isOfStream(record.type)
      ? describeStreamId(flow.names, record.id)
      : isOfProcess(record.type)
        ? describeProcess(flow.names, processNumber(record.id))
        : 'the link';
    const key = `${flow.sandbox} ${cause} ${subject} ${record.type}`;
    const known = this.#found.get(key);
    if (known !== undefined) {
      known.times++;
      if (known.evidence.length < 4) known.evidence.push(record.number);
      return;
    }
    const evidence = [record.number];
    const who = record.direction === 1 ? `client ${record.connection}` : 'the agent';
    const title =
      cause === 'data_loss'
        ? `bytes of ${subject} were lost`
        : `${who} breaks a rule of the protocol on ${subject}`;
    const text = `${frameTypeName(record.type)} ${what}.`;
    this.#found.set(key, {
      finding: { cause, level: 'problem', sandbox: flow.sandbox, title, text, evidence },
      evidence,
      times: 1,
    });
  }

  of(flow: SandboxFlow): Finding[] {
    const seen = [...this.#found.values()].filter(({ finding }) => finding.sandbox === flow.sandbox);
    const told = seen.map(({ finding, times }) =>
      times === 1 ? finding : { ...finding, text: `${finding.text} In all ${times} times.` },
    );
    // What the proxy, or a peer, has seen and ended a connection for.
    const ends = [...flow.linkEnds.map((end) => ({ ...end, connection: 0 })), ...flow.violations];
    return [
      ...told,
      ...ends
        .filter(({ code }) => code === 'invalid_argument')
        .slice(0, 4)
        .map(
          ({ number, text, connection }): Finding => ({
            cause: 'protocol_violation',
            level: 'problem',
            sandbox: flow.sandbox,
            title: `${connection === 0 ? 'the link' : `the connection of client ${connection}`} was ended for a broken rule`,
            text: sentence(text),
            evidence: [number],
          }),
        ),
    ];
  }
}
