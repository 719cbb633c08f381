/** The whole capture: what flowed in either direction, and which time the other charts show. */
import type { ReportData } from '../src/report/data.ts';
import { formatBytes, formatSpan } from '../src/words/text.ts';
import { h, s } from './dom.ts';
import { canvas, highest, path, rates } from './plot.ts';
import { axis, offsetText, type View } from './view.ts';

export function overview({ total }: ReportData, view: View): HTMLElement {
  const track = h('div', { class: 'track tall' });
  const scale = h('span', { class: 'scale' });
  const range = h('span', { class: 'range' });
  const reset = h('button', { on: { click: () => view.whole() } }, 'Show all of it');
  view.onChange(() => {
    const toClient = rates(total.toClient, view);
    const toAgent = rates(total.toAgent, view);
    const most = highest(toClient, toAgent);
    track.querySelector('svg')?.remove();
    track.prepend(
      canvas(
        s('path', { d: path(toClient, most, true), class: 'area to-client' }),
        s('path', { d: path(toAgent, most, true), class: 'area to-agent' }),
      ),
    );
    scale.textContent = most === 0 ? '' : `${formatBytes(Math.round(most))}/s`;
    range.textContent = view.isWhole
      ? 'Drag over a chart to look at a part of it'
      : `${offsetText(view.fromMs, view.spanMs)} to ${offsetText(view.toMs, view.spanMs)}: ${formatSpan(view.spanMs * 1e6)}`;
    reset.hidden = view.isWhole;
  });
  view.selectable(track);
  return h(
    'section',
    { class: 'overview', id: 'overview' },
    h(
      'div',
      { class: 'row' },
      h('h2', {}, 'Throughput'),
      legend('to-client', 'guest to host'),
      legend('to-agent', 'host to guest'),
      h('span', { class: 'fill' }),
      range,
      reset,
      scale,
    ),
    track,
    axis(view, 10),
  );
}

export function legend(kind: string, text: string): HTMLElement {
  return h('span', { class: 'legend' }, h('i', { class: kind }), text);
}
