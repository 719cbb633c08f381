import { Flows } from '../model/flows.ts';
import { describeStreamId } from '../model/names.ts';
import type { SandboxFlow } from '../model/sandbox-flow.ts';
import type { StreamFlow } from '../model/stream-flow.ts';
import { describeStreamState } from '../model/stream-state.ts';
import { readCapture } from '../read/read-file.ts';
import { DamageReport } from '../words/damage.ts';
import { Output } from '../words/output.ts';
import { count, formatBytes, formatClock, formatSpan, jsonLine, printable, table } from '../words/text.ts';
import { type Command, jsonOption, parseCommand, parseCount } from './command.ts';

export const stats: Command = {
  usage: 'stats FILE [--top N] [--json]',
  summary:
    'print for each sandbox and stream what has crossed, what was repeated, and how long it had no credit',
  options: {
    '--top N': 'the N streams with most bytes of each sandbox; 20 unless given',
    '--json': 'one JSON object a line: each sandbox, then its streams',
  },
  async run(args, signal) {
    const { values, positionals } = parseCommand(args, ['FILE'], {
      ...jsonOption,
      top: { type: 'string', default: '20' },
    });
    const top = parseCount(values.top, '--top');
    const flows = new Flows();
    const report = new DamageReport();
    const reader = await readCapture(
      positionals[0] as string,
      {
        record: (record) => void flows.take(record),
        damage: (damage) => report.damage(damage),
        counters: (counters) => {
          report.counters(counters);
          flows.counters(counters);
        },
      },
      { signal },
    );
    const output = new Output();
    if (!values.json && reader.records > 0)
      output.line(
        `${count(reader.records, 'record')} in ${formatSpan(reader.endNs)}, from ${formatClock(reader.startNs, 0)}`,
      );
    for (const flow of flows.sandboxes.values()) output.lines(values.json ? json(flow) : text(flow, top));
    output.flush();
    report.end(reader);
    return 0;
  },
};

function streamsOf(flow: SandboxFlow): StreamFlow[] {
  return [...flow.processes.values()]
    .flatMap(({ streams }) => streams)
    .filter(({ frames }) => frames > 0)
    .sort((a, b) => b.bytes - a.bytes || a.id - b.id);
}

function text(flow: SandboxFlow, top: number): string[] {
  const streams = streamsOf(flow);
  const rows = streams
    .slice(0, top)
    .map((stream) => [
      String(stream.id),
      describeStreamId(flow.names, stream.id),
      String(stream.frames),
      formatBytes(stream.bytes),
      stream.repeatedBytes === 0 ? '–' : formatBytes(stream.repeatedBytes),
      rateOf(stream),
      stream.blocks === 0 ? '–' : `${stream.blocks}, ${formatSpan(stream.blockedNs)}`,
      stream.trips === 0
        ? '–'
        : `${formatSpan(stream.tripNs / stream.trips)}, ${formatSpan(stream.longestTripNs)}`,
      describeStreamState(stream),
    ]);
  const head = [
    'id',
    'stream',
    'frames',
    'bytes',
    'repeated',
    'rate',
    'without credit',
    'delivered after (mean, most)',
    'now',
  ];
  return [
    '',
    `${printable(flow.sandbox)}: ${count(flow.frames, 'frame')}, ${formatBytes(flow.bytes)} of payload, ${count(flow.processes.size + flow.folded, 'process', 'processes')}, ${count(flow.requests.size, 'request')} without answer`,
    ...table(
      [head, ...rows].map((row) => [`  ${row[0]}`, ...row.slice(1)]),
      [2, 3, 4, 5],
    ),
    ...(streams.length > top ? [`  and ${streams.length - top} more (--top)`] : []),
    ...(flow.folded > 0 ? [`  ${flow.folded} processes that had ended are not listed`] : []),
  ];
}

function rateOf({ bytes, first, lastData }: StreamFlow): string {
  const ns = (lastData?.timeNs ?? 0) - (first?.timeNs ?? 0);
  return ns > 0 ? `${formatBytes(Math.round((bytes / ns) * 1e9))}/s` : '–';
}

function* json(flow: SandboxFlow): Generator<string> {
  const { sandbox, frames, bytes, dropped, folded } = flow;
  const requests = flow.requests.size;
  yield jsonLine({ sandbox, frames, bytes, processes: flow.processes.size + folded, requests, dropped });
  for (const stream of streamsOf(flow)) {
    const name = flow.names.process(Math.floor(stream.id / 4));
    yield jsonLine({
      sandbox,
      id: stream.id,
      stream: stream.kind,
      container: name?.container,
      exec: name?.exec,
      frames: stream.frames,
      bytes: stream.bytes,
      repeatedBytes: stream.repeatedBytes,
      delivered: stream.delivered,
      limit: stream.limit,
      final: stream.final,
      undelivered: stream.undelivered,
      withoutCredit: { times: stream.blocks, ns: stream.blockedNs, longestNs: stream.longestBlockNs },
      deliveredAfter: { samples: stream.trips, totalNs: stream.tripNs, longestNs: stream.longestTripNs },
      state: describeStreamState(stream),
    });
  }
}
