/** Every stream's plots, and the sum of all of them. */
import { Direction, FrameType } from '@coracle/wire';
import { isOfStream, processNumber, streamKindNames } from '../model/names.ts';
import type { SandboxFlow } from '../model/sandbox-flow.ts';
import type { StreamFlow } from '../model/stream-flow.ts';
import { describeStreamState } from '../model/stream-state.ts';
import type { RecordView } from '../read/record-view.ts';
import { printable } from '../words/text.ts';
import type { StreamColumn, StreamData, TotalData } from './data.ts';
import { last, most, rounded, Series, Spans, sum } from './series.ts';
import { shortProcess } from './words.ts';

/** Buckets of one stream, by how many streams there are: all together they stay below some hundred megabytes. */
const bucketsFor = (streams: number): number => (streams <= 256 ? 512 : streams <= 4096 ? 64 : 12);
const TOTAL_BUCKETS = 1024;
/** Of a page: the ones with most bytes, and those that stand still. */
export const MOST_STREAMS = 300;

const merges: Readonly<Record<StreamColumn, (earlier: number, later: number) => number>> = {
  bytes: sum,
  most,
  ahead: last,
  window: last,
  trips: sum,
  tripMs: sum,
  tripMost: most,
};

interface Plotted {
  readonly series: Series<StreamColumn>;
  readonly spans: Spans;
  trips: number;
  tripNs: number;
  blocked: number | undefined;
}

export class StreamPlots {
  readonly #toAgent = new Series({ bytes: sum }, TOTAL_BUCKETS);
  readonly #toClient = new Series({ bytes: sum }, TOTAL_BUCKETS);
  readonly #plots = new Map<StreamFlow, Plotted>();
  #buckets = bucketsFor(0);

  /** After the flow has taken it. */
  take(record: RecordView, flow: SandboxFlow): void {
    if (record.isEvent) return;
    if (record.length > 0)
      (record.direction === Direction.toAgent ? this.#toAgent : this.#toClient).add(
        record.timeNs,
        record.length,
      );
    if (!isOfStream(record.type) || record.unowned) return;
    const stream = flow.processes.get(processNumber(record.id))?.streams[record.id % 4];
    if (stream === undefined) return;
    const plot = this.#plot(stream);
    const trips = stream.trips - plot.trips;
    const tripMs = (stream.tripNs - plot.tripNs) / 1e6;
    plot.trips = stream.trips;
    plot.tripNs = stream.tripNs;
    const ahead = stream.undelivered;
    const window = Math.max(0, (stream.limit ?? 0) - (stream.delivered ?? 0));
    const bytes = record.type === FrameType.DATA ? record.length : 0;
    plot.series.add(record.timeNs, bytes, ahead, ahead, window, trips, tripMs, tripMs);
    const blocked = stream.blocked?.timeNs;
    if (plot.blocked !== undefined && blocked === undefined) plot.spans.add(plot.blocked, record.timeNs);
    plot.blocked = blocked;
  }

  #plot(stream: StreamFlow): Plotted {
    let plot = this.#plots.get(stream);
    if (plot === undefined) {
      const buckets = bucketsFor(this.#plots.size + 1);
      if (buckets < this.#buckets) for (const { series } of this.#plots.values()) series.limit(buckets);
      this.#buckets = buckets;
      const series = new Series<StreamColumn>(merges, buckets);
      plot = { series, spans: new Spans(), trips: 0, tripNs: 0, blocked: undefined };
      this.#plots.set(stream, plot);
    }
    return plot;
  }

  total(): TotalData {
    return { toAgent: this.#toAgent.columns(), toClient: this.#toClient.columns() };
  }

  /** @param endNs until when what is blocked has been */
  of(flow: SandboxFlow, endNs: number): { streams: StreamData[]; leftOut: number } {
    const all = [...flow.processes.values()]
      .flatMap(({ streams }) => streams)
      // Signals and sizes are steps of the diagram.
      .filter(({ frames, kind, blocked }) => frames > 0 && (kind !== 'control' || blocked !== undefined))
      .sort(
        (a, b) =>
          Number(b.blocked !== undefined) - Number(a.blocked !== undefined) ||
          b.bytes - a.bytes ||
          a.id - b.id,
      );
    const streams = all.slice(0, MOST_STREAMS).map((stream) => this.#data(flow, stream, endNs));
    return { streams, leftOut: all.length - streams.length };
  }

  #data(flow: SandboxFlow, stream: StreamFlow, endNs: number): StreamData {
    const { series, spans } = this.#plots.get(stream) as Plotted;
    const still = stream.blocked === undefined ? 0 : endNs - stream.blocked.timeNs;
    if (stream.blocked !== undefined) spans.add(stream.blocked.timeNs, endNs);
    const process = processNumber(stream.id);
    const kind = streamKindNames[stream.id % 4] as string;
    return {
      id: stream.id,
      process,
      kind,
      label: printable(`${shortProcess(flow.names, process)} ${kind}`),
      state: describeStreamState(stream),
      frames: stream.frames,
      bytes: stream.bytes,
      repeatedBytes: stream.repeatedBytes,
      blocks: stream.blocks + (still > 0 ? 1 : 0),
      blockedMs: rounded((stream.blockedNs + still) / 1e6),
      trips: stream.trips,
      tripMs: rounded(stream.tripNs / 1e6),
      longestTripMs: rounded(stream.longestTripNs / 1e6),
      blocked: spans.inMs(),
      series: series.columns(),
    };
  }
}
