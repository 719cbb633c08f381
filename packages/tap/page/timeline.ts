/** Every process and its streams by time. */
import type { ProcessData, SandboxData, StreamData } from '../src/report/data.ts';
import { formatBytes, formatSpan } from '../src/words/text.ts';
import { h, percent, s } from './dom.ts';
import { More } from './more.ts';
import { legend } from './overview.ts';
import { canvas, highest, path, rates } from './plot.ts';
import type { Search } from './search.ts';
import { axis, type View } from './view.ts';

/** Shorter ones would be dust: the plots and the numbers tell of them. */
const SHORTEST_BLOCK_MS = 10;
const AT_FIRST = 40;

export function timeline(sandbox: SandboxData, view: View, search: Search): HTMLElement {
  const { processes, streams, processesLeftOut } = sandbox;
  const byProcess = Map.groupBy(streams, ({ process }) => process);
  const more = new More(processes, AT_FIRST, 'processes', (process) => {
    const own = (byProcess.get(process.number) ?? [])
      .filter(({ kind }) => kind !== 'control')
      .sort((a, b) => a.id - b.id);
    return row(process, own, view);
  });
  search.part(
    more.searched(({ label, exit, marks }) => `${label} ${exit} ${marks.map(({ text }) => text).join(' ')}`),
  );
  return h(
    'section',
    {},
    h(
      'div',
      { class: 'row' },
      h('h3', {}, 'Processes and streams'),
      legend('stdin', 'stdin'),
      legend('stdout', 'stdout'),
      legend('stderr', 'stderr'),
      legend('blocked', 'no credit'),
    ),
    h('div', { class: 'lanes' }, h('span'), axis(view)),
    more.element,
    processesLeftOut > 0 && h('p', { class: 'note' }, `${processesLeftOut} older processes are left out.`),
  );
}

function row(process: ProcessData, streams: readonly StreamData[], view: View): HTMLElement {
  const track = h('div', { class: 'track process' });
  const { label, exit, failed, fromMs, exitMs, marks } = process;
  view.onChange(() => {
    const from = view.place(fromMs);
    const to = view.place(exitMs ?? view.wholeMs);
    track.querySelectorAll(':scope > :not(.selection)').forEach((old) => {
      old.remove();
    });
    track.prepend(
      h('div', {
        class: exitMs === undefined ? 'life open' : 'life',
        style: { left: percent(from), width: percent(to - from) },
      }),
      ...streams.map((stream) => ribbon(stream, view)),
      ...marks.map(({ atMs, text }) =>
        h('span', { class: 'mark', title: text, style: { left: percent(view.place(atMs)) } }),
      ),
      ...(exitMs === undefined
        ? []
        : [
            h('span', {
              class: failed ? 'exit bad' : 'exit',
              title: exit ?? '',
              style: { left: percent(to) },
            }),
          ]),
    );
  });
  view.selectable(track);
  return h(
    'div',
    { class: 'lanes', title: described(process, streams) },
    h(
      'span',
      { class: 'who' },
      h('b', {}, label),
      process.terminal && h('span', { class: 'chip small' }, 'tty'),
      h('small', { class: failed ? 'bad' : '' }, exit ?? 'goes on'),
    ),
    track,
  );
}

function ribbon(stream: StreamData, view: View): HTMLElement {
  const values = rates(stream.series, view);
  const long = stream.blocked.filter(([from, to]) => to - from >= SHORTEST_BLOCK_MS);
  return h(
    'div',
    { class: 'ribbon' },
    ...long.map(([from, to]) =>
      h('div', {
        class: 'blocked',
        title: `${stream.kind} has no credit for ${formatSpan((to - from) * 1e6)}`,
        style: { left: percent(view.place(from)), width: percent((to - from) / view.spanMs) },
      }),
    ),
    canvas(
      s('path', {
        d: path(values.map(Math.sqrt), Math.sqrt(highest(values)), true),
        class: `area ${stream.kind}`,
      }),
    ),
  );
}

function described({ label, exit }: ProcessData, streams: readonly StreamData[]): string {
  const each = streams.map(({ kind, bytes, state }) => `${kind}: ${formatBytes(bytes)}, ${state}`);
  return [`${label}: ${exit ?? 'goes on'}`, ...each].join('\n');
}
