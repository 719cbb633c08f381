/** The page of `coracle-tap report`: reads its data and draws it. */
import type { ReportData, SandboxData } from '../src/report/data.ts';
import { count, formatBytes, formatSpan } from '../src/words/text.ts';
import { h, s } from './dom.ts';
import { findings } from './findings.ts';
import { overview } from './overview.ts';
import { Search } from './search.ts';
import { sequence } from './sequence.ts';
import { streams } from './streams.ts';
import { terminals } from './terminals.ts';
import { themeButton } from './theme.ts';
import { timeline } from './timeline.ts';
import { View } from './view.ts';

const data = JSON.parse(document.getElementById('data')?.textContent ?? '') as ReportData;
const view = new View(data.endMs);
const search = new Search();

document
  .getElementById('page')
  ?.replaceChildren(
    h(
      'header',
      { class: 'top' },
      boat(),
      h('div', { class: 'name' }, h('h1', {}, data.title), h('p', {}, subtitle())),
      h('span', { class: 'fill' }),
      search.field,
      themeButton(),
    ),
    h('main', {}, facts(), findings(data, search), overview(data, view), ...data.sandboxes.map(sandboxPart)),
    h(
      'footer',
      {},
      'Made by coracle-tap report. This file is complete in itself and sends nothing anywhere.',
    ),
  );

function subtitle(): string {
  if (data.records === 0) return 'An empty capture';
  const from = new Date(data.startMs);
  const date = from.toLocaleDateString(undefined, { dateStyle: 'long' });
  return `${date}, ${from.toLocaleTimeString()}, for ${formatSpan(data.endMs * 1e6)}`;
}

function facts(): HTMLElement {
  const sum = (of: (sandbox: SandboxData) => number): number =>
    data.sandboxes.reduce((total, sandbox) => total + of(sandbox), 0);
  const dropped = sum((sandbox) => sandbox.dropped);
  const all: [string, string][] = [
    [formatSpan(data.endMs * 1e6), 'captured'],
    [data.records.toLocaleString(), 'records'],
    [formatBytes(sum(({ bytes }) => bytes)), 'of payload crossed'],
    [String(data.sandboxes.length), data.sandboxes.length === 1 ? 'sandbox' : 'sandboxes'],
    [
      sum(({ processes, processesLeftOut }) => processes.length + processesLeftOut).toLocaleString(),
      'processes',
    ],
    ...(data.sections > 1 ? [[String(data.sections), 'runs of the proxy'] as [string, string]] : []),
    ...(dropped > 0 ? [[dropped.toLocaleString(), 'records missing'] as [string, string]] : []),
  ];
  return h(
    'dl',
    { class: 'facts' },
    ...all.map(([value, name]) => h('div', {}, h('dd', {}, value), h('dt', {}, name))),
  );
}

function sandboxPart(sandbox: SandboxData): HTMLElement {
  return h(
    'section',
    { class: 'sandbox' },
    h(
      'div',
      { class: 'row' },
      h('h2', {}, 'Sandbox ', h('code', {}, sandbox.id)),
      h('span', { class: 'note' }, `${count(sandbox.frames, 'frame')}, ${formatBytes(sandbox.bytes)}`),
    ),
    timeline(sandbox, view, search),
    streams(sandbox, view, search),
    terminals(sandbox, search),
    sequence(sandbox, view, search),
  );
}

/** A coracle: a small round boat. */
function boat(): SVGSVGElement {
  return s(
    'svg',
    { viewBox: '0 0 40 40', class: 'boat', 'aria-hidden': 'true' },
    s('path', { d: 'M5 17h30c0 9-6.5 15-15 15S5 26 5 17Z', class: 'hull' }),
    s('path', { d: 'M20 17V6l9 8h-9', class: 'sail' }),
    s('path', { d: 'M2 36c3-2 6-2 9 0s6 2 9 0 6-2 9 0 6 2 9 0', class: 'sea' }),
  );
}
