/** The streams: throughput, window and latency of each. */
import type { SandboxData, StreamData } from '../src/report/data.ts';
import { count, formatBytes, formatSpan } from '../src/words/text.ts';
import { h, s } from './dom.ts';
import { More } from './more.ts';
import { HEIGHT, highest, levels, path, plot, rates, WIDTH } from './plot.ts';
import type { Search } from './search.ts';
import { axis, type View } from './view.ts';

const AT_FIRST = 6;

export function streams(sandbox: SandboxData, view: View, search: Search): HTMLElement | undefined {
  const { streams: all, streamsLeftOut } = sandbox;
  if (all.length === 0) return undefined;
  const more = new More(all, AT_FIRST, 'streams', (stream) => card(stream, view));
  search.part(more.searched(({ label, state, kind, id }) => `${label} ${kind} ${state} ${id}`));
  return h(
    'section',
    {},
    h('h3', {}, 'Streams'),
    more.element,
    streamsLeftOut > 0 &&
      h('p', { class: 'note' }, `${streamsLeftOut} streams with fewer bytes are left out.`),
  );
}

function card(stream: StreamData, view: View): HTMLElement {
  const { series, kind, label, state, id } = stream;
  const bad = state.startsWith('no credit');
  const name = label.slice(0, label.length - kind.length - 1);
  return h(
    'article',
    { class: 'card stream' },
    h(
      'header',
      {},
      h('h4', {}, h('i', { class: `dot ${kind}` }), h('span', {}, name), h('em', {}, kind)),
      h('p', { class: bad ? 'state bad' : 'state' }, state),
      facts(stream),
      h('small', {}, `stream ${id}`),
    ),
    h(
      'div',
      { class: 'plots' },
      plot(view, 'Throughput', 'Bytes sent in each part of the time', () => {
        const values = rates(series, view);
        const most = highest(values);
        return {
          curves: [s('path', { d: path(values, most, true), class: `area ${kind}` })],
          scale: most === 0 ? '' : `${formatBytes(Math.round(most))}/s`,
        };
      }),
      plot(
        view,
        'Window',
        'Sent and not yet delivered, below what may be; red where nothing more may be sent',
        () => {
          const ahead = levels(series, series.most, series.ahead, view);
          const window = levels(series, series.window, series.window, view);
          const most = highest(ahead, window);
          return {
            curves: [
              ...blocks(stream, view),
              s('path', { d: path(ahead, most, true), class: `area ${kind}` }),
              s('path', { d: path(window, most, false), class: 'line limit' }),
            ],
            scale: most === 0 ? '' : formatBytes(most),
          };
        },
      ),
      plot(view, 'Latency', 'From a byte until its reader has said that it has it: mean, and most', () =>
        latency(stream, view),
      ),
      h('div', { class: 'axes' }, axis(view, 3), axis(view, 3), axis(view, 3)),
    ),
  );
}

function blocks({ blocked }: StreamData, view: View): Node[] {
  return blocked.map(([from, to]) => {
    const x = view.place(from) * WIDTH;
    return s('rect', {
      x,
      y: 0,
      width: Math.max(0.5, ((to - from) / view.spanMs) * WIDTH),
      height: HEIGHT,
      class: 'block',
    });
  });
}

function latency({ series, kind }: StreamData, view: View): { curves: Node[]; scale: string } {
  const seen = series.at.flatMap((at, bucket) => {
    const trips = series.trips[bucket] as number;
    const place = view.place(at + series.widthMs / 2);
    if (trips === 0 || place < 0 || place > 1) return [];
    return [
      {
        x: place * WIDTH,
        mean: (series.tripMs[bucket] as number) / trips,
        most: series.tripMost[bucket] as number,
      },
    ];
  });
  const top = seen.reduce((most, one) => Math.max(most, one.most), 0);
  const y = (ms: number): number => HEIGHT - 3 - (top === 0 ? 0 : (ms / top) * (HEIGHT - 10));
  const lines = seen.map(
    ({ x, mean, most }) => `M${x.toFixed(1)} ${y(mean).toFixed(1)}V${y(most).toFixed(1)}`,
  );
  // A line of no length with round ends is a dot, however the picture is stretched.
  const dots = seen.map(({ x, mean }) => `M${x.toFixed(1)} ${y(mean).toFixed(1)}h0`);
  return {
    curves: [
      s('path', { d: lines.join(''), class: `line thin ${kind}` }),
      s('path', { d: dots.join(''), class: `dots ${kind}` }),
    ],
    scale: top === 0 ? '' : formatSpan(top * 1e6),
  };
}

function facts({
  bytes,
  frames,
  repeatedBytes,
  blocks: times,
  blockedMs,
  trips,
  tripMs,
  longestTripMs,
}: StreamData): HTMLElement {
  const rows: [string, string][] = [
    ['Sent', `${formatBytes(bytes)} in ${count(frames, 'frame')}`],
    ...(repeatedBytes > 0 ? [['Repeated', formatBytes(repeatedBytes)] as [string, string]] : []),
    ...(times > 0 ? [['No credit', `${formatSpan(blockedMs * 1e6)}, ${times}×`] as [string, string]] : []),
    ...(trips > 0
      ? [
          [
            'Delivered after',
            `${formatSpan((tripMs / trips) * 1e6)}, at most ${formatSpan(longestTripMs * 1e6)}`,
          ] as [string, string],
        ]
      : []),
  ];
  return h('dl', {}, ...rows.flatMap(([name, value]) => [h('dt', {}, name), h('dd', {}, value)]));
}
