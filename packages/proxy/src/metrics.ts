/**
 * The proxy's numbers in the text format of Prometheus (docs/metrics.md). prom-client writes it; it is loaded when the
 * first one asks, and reads counters that are there anyway. No label is a sandbox, a client or a stream: however many
 * there are, the lines stay as many.
 */
import type { Counters, Distribution, Traffic } from './counters.ts';

export interface MetricsSource {
  readonly counters: Counters;
  gauges(): Gauges;
}

export interface Gauges {
  readonly clients: number;
  readonly openLinks: number;
  readonly openingLinks: number;
  readonly captures: number;
  /** Of each direction. */
  readonly toAgent: Waiting;
  readonly toClient: Waiting;
}

export interface Waiting {
  readonly queuedBytes: number;
  readonly stalledStreams: number;
  /** Of stalls that have not ended. */
  readonly stalledSeconds: number;
}

interface Value {
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
  readonly metricName?: string;
}

interface Family {
  readonly name: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly help: string;
  readonly values: readonly Value[];
}

export async function metricsText(source: MetricsSource): Promise<{ type: string; text: string }> {
  const { Registry } = await import('prom-client');
  const registry = new Registry();
  for (const family of families(source)) {
    const metric = { ...family, aggregator: 'sum', get: async () => family };
    // What a registry wants of a metric is this much of one.
    registry.registerMetric(metric as unknown as Parameters<typeof registry.registerMetric>[0]);
  }
  return { type: registry.contentType, text: await registry.metrics() };
}

function families({ counters, gauges }: MetricsSource): Family[] {
  const now = gauges();
  const directions = [
    ['to_agent', counters.toAgent, now.toAgent],
    ['to_client', counters.toClient, now.toClient],
  ] as const;
  const each = (of: (traffic: Traffic, waiting: Waiting) => number): Value[] =>
    directions.map(([direction, traffic, waiting]) => ({
      labels: { direction },
      value: of(traffic, waiting),
    }));
  const byType = (of: (traffic: Traffic) => Float64Array): Value[] =>
    directions.flatMap(([direction, traffic]) =>
      [...traffic.byType(of(traffic))].map(({ type, value }) => ({ labels: { direction, type }, value })),
    );
  const one = (value: number): Value[] => [{ labels: {}, value }];
  const byCode = (counts: ReadonlyMap<string, number>): Value[] =>
    [...counts].map(([code, value]) => ({ labels: { code }, value }));
  const family = (type: Family['type'], name: string, help: string, values: Value[]): Family => ({
    type,
    name: `coracle_proxy_${name}`,
    help,
    values,
  });
  return [
    family(
      'counter',
      'frames_total',
      'Frames that have come, for whoever they were.',
      byType(({ frames }) => frames),
    ),
    family(
      'counter',
      'payload_bytes_total',
      'Payload of these frames.',
      byType(({ payloadBytes }) => payloadBytes),
    ),
    family(
      'counter',
      'retransmitted_frames_total',
      'DATA of which a part had crossed before.',
      each((traffic) => traffic.retransmittedFrames),
    ),
    family(
      'counter',
      'retransmitted_bytes_total',
      'Bytes of streams that had crossed before.',
      each((traffic) => traffic.retransmittedBytes),
    ),
    family(
      'counter',
      'stalls_total',
      'How often a stream had sent all that it may.',
      each((traffic) => traffic.stalls),
    ),
    family(
      'counter',
      'stalled_seconds_total',
      'How long streams could not go on, added up over streams.',
      each((traffic, { stalledSeconds }) => traffic.stalledSeconds + stalledSeconds),
    ),
    family(
      'gauge',
      'stalled_streams',
      'Streams that may not be sent on now.',
      each((_, { stalledStreams }) => stalledStreams),
    ),
    family(
      'histogram',
      'delivery_seconds',
      'From a byte until its receiver has said that it has it.',
      directions.flatMap(([direction, { delivery }]) =>
        histogram('coracle_proxy_delivery_seconds', delivery, { direction }),
      ),
    ),
    family(
      'histogram',
      'request_duration_seconds',
      'From a request to its answer; of WaitProcess, until the process ends.',
      histogram('coracle_proxy_request_duration_seconds', counters.requests, {}),
    ),
    family('counter', 'attachments_total', 'ATTACH of clients.', one(counters.attachments)),
    family(
      'counter',
      'reattachments_total',
      'ATTACH to a process that was attached to before.',
      one(counters.reattachments),
    ),
    family('gauge', 'clients', 'Clients that are connected.', one(now.clients)),
    family(
      'counter',
      'clients_connected_total',
      'Clients that have connected.',
      one(counters.clientsConnected),
    ),
    family(
      'counter',
      'clients_closed_total',
      'Connections of clients that have ended, by why.',
      byCode(counters.clientsClosed),
    ),
    family('gauge', 'links', 'Links to agents.', [
      { labels: { state: 'open' }, value: now.openLinks },
      { labels: { state: 'opening' }, value: now.openingLinks },
    ]),
    family('counter', 'links_opened_total', 'Links whose agent has answered.', one(counters.linksOpened)),
    family('counter', 'links_closed_total', 'Links that have ended, by why.', byCode(counters.linksClosed)),
    family(
      'counter',
      'links_dialled_again_total',
      'Links that were connected anew since no answer came.',
      one(counters.linksDialledAgain),
    ),
    family(
      'gauge',
      'queued_bytes',
      'Frames that wait in the proxy for their receiver.',
      each((_, { queuedBytes }) => queuedBytes),
    ),
    family('gauge', 'captures', 'Captures that run.', one(now.captures)),
    ...processFamilies(),
  ];
}

/** Prometheus's own names. */
function processFamilies(): Family[] {
  const { user, system } = process.cpuUsage();
  const one = (type: Family['type'], name: string, help: string, value: number): Family => ({
    type,
    name,
    help,
    values: [{ labels: {}, value }],
  });
  const startMs = performance.timeOrigin;
  return [
    one('counter', 'process_cpu_seconds_total', 'Processor time of the proxy.', (user + system) / 1e6),
    one('gauge', 'process_resident_memory_bytes', 'Resident memory of the proxy.', process.memoryUsage.rss()),
    one('gauge', 'process_start_time_seconds', 'When the proxy was started, since 1970.', startMs / 1000),
  ];
}

function histogram(
  name: string,
  { bounds, counts, sum, count }: Distribution,
  labels: Value['labels'],
): Value[] {
  let below = 0;
  const buckets = [...bounds, '+Inf'].map((le, index): Value => {
    below += counts[index] as number;
    return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: below };
  });
  return [
    ...buckets,
    { metricName: `${name}_sum`, labels, value: sum },
    { metricName: `${name}_count`, labels, value: count },
  ];
}
