/** Reads a capture once, and a second time for the frames that prove what was found. Memory is bounded. */
import { basename } from 'node:path';
import { diagnose } from '../diagnose/diagnose.ts';
import { explainRecords } from '../diagnose/evidence.ts';
import type { SandboxFlow } from '../model/sandbox-flow.ts';
import type { Counters, Damage } from '../read/capture-reader.ts';
import { describeDamage } from '../words/damage.ts';
import { count, printable } from '../words/text.ts';
import type { ReportData, SandboxData } from './data.ts';
import { processesOf } from './processes.ts';
import { rounded } from './series.ts';
import { Steps } from './steps.ts';
import { StreamPlots } from './streams.ts';
import { Terminals } from './terminals.ts';

export interface CollectOptions {
  readonly signal: AbortSignal;
  /** Terminal sessions with what they printed. */
  readonly payload: boolean;
  readonly events: { damage(damage: Damage): void; counters(counters: Counters): void };
}

const MOST_DAMAGE = 20;

/** @throws TapError as readCapture */
export async function collectReport(path: string, options: CollectOptions) {
  const { signal, events } = options;
  const plots = new StreamPlots();
  const terminals = new Terminals(options.payload);
  const steps = new Map<SandboxFlow, Steps>();
  const damage: string[] = [];
  const { findings, reader, flows } = await diagnose(path, {
    signal,
    events: {
      record: (record, flow, message) => {
        plots.take(record, flow);
        terminals.take(record, flow);
        let own = steps.get(flow);
        if (own === undefined) {
          own = new Steps();
          steps.set(flow, own);
        }
        own.take(record, flow, message);
      },
      damage: (one) => {
        events.damage(one);
        if (damage.length < MOST_DAMAGE) damage.push(describeDamage(one));
      },
      counters: events.counters,
    },
  });
  const wanted = new Set(findings.flatMap(({ evidence }) => evidence));
  const proofs = await explainRecords(path, wanted, { signal, fields: false });
  const sandboxes = [...flows.sandboxes.values()].map((flow): SandboxData => {
    const {
      steps: own = [],
      leftOut,
      lanes,
    } = steps.get(flow)?.data(flow) ?? {
      leftOut: { count: 0, behind: 0 },
      lanes: [],
    };
    const { processes, leftOut: processesLeftOut } = processesOf(flow);
    const { streams, leftOut: streamsLeftOut } = plots.of(flow, reader.endNs);
    return {
      id: printable(flow.sandbox),
      frames: flow.frames,
      bytes: flow.bytes,
      dropped: flow.dropped,
      lanes,
      steps: own,
      stepsLeftOut: leftOut,
      processes,
      processesLeftOut,
      streams,
      streamsLeftOut,
      terminals: terminals.of(flow),
    };
  });
  if (reader.otherVersions > 0)
    damage.push(`${count(reader.otherVersions, 'record')} of another version were skipped`);
  const data: ReportData = {
    title: printable(basename(path)),
    startMs: Number(reader.startNs / 1_000_000n),
    endMs: rounded(reader.endNs / 1e6),
    records: reader.records,
    sections: reader.sections,
    damage: damage.map(printable),
    total: plots.total(),
    findings: findings.map(({ cause, level, sandbox, title, text, evidence }) => ({
      cause,
      level,
      sandbox: printable(sandbox),
      title: printable(title),
      text: printable(text),
      evidence: evidence.map((number) => ({ number, text: proofs.get(number) ?? `#${number}` })),
    })),
    sandboxes,
  };
  return { data, reader };
}
