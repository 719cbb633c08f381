/** Who said what to whom, one row for each step, in order. Time stands at the left. */
import type { SandboxData, StepData } from '../src/report/data.ts';
import { formatSpan } from '../src/words/text.ts';
import { type Placed, placeLanes } from './columns.ts';
import { h, s } from './dom.ts';
import type { Search } from './search.ts';
import { clockText, type View } from './view.ts';

const ROW = 30;
const LEAST_COLUMN = 216;
const MOST_COLUMN = 400;
const TIMES = 92;
const HEAD = 46;
const BOX = 150;
/** Nothing happened for so long: that is said. */
const PAUSE_MS = 500;
const AT_FIRST = 120;

export function sequence(sandbox: SandboxData, view: View, search: Search): HTMLElement {
  const place = h('div', { class: 'sequence' });
  const button = h('button', { class: 'more' });
  let wanted: readonly StepData[] = sandbox.steps;
  let shown = AT_FIRST;
  let searching = false;
  const draw = (): void => {
    const inView = view.isWhole
      ? wanted
      : wanted.filter(({ atMs, untilMs = atMs }) => untilMs >= view.fromMs && atMs <= view.toMs);
    const steps = inView.slice(0, shown);
    place.replaceChildren(
      steps.length === 0
        ? h('p', { class: 'note' }, 'Nothing of the kind was said in this time.')
        : diagram(sandbox, steps, place.clientWidth, !searching),
    );
    const left = inView.length - steps.length;
    button.hidden = left <= 0;
    button.textContent = `${left} more steps`;
  };
  button.addEventListener('click', () => {
    shown += 5 * AT_FIRST;
    draw();
  });
  const names = new Map(sandbox.lanes.map(({ id, label, note }) => [id, `${label} ${note}`]));
  const texts = sandbox.steps.map(({ text, number, from, to }) =>
    `${text} #${number} ${names.get(from)} ${names.get(to)}`.toLowerCase(),
  );
  search.part({
    apply: (matches, active) => {
      wanted = active ? sandbox.steps.filter((_, at) => matches(texts[at] as string)) : sandbox.steps;
      searching = active;
      shown = AT_FIRST;
      draw();
      return active ? wanted.length : 0;
    },
  });
  view.onChange(draw);
  // Columns are as wide as there is room.
  let width = 0;
  new ResizeObserver(() => {
    if (place.clientWidth !== width) draw();
    width = place.clientWidth;
  }).observe(place);
  const { count } = sandbox.stepsLeftOut;
  return h(
    'section',
    {},
    h('h3', {}, 'Requests and processes'),
    place,
    button,
    count > 0 && h('p', { class: 'note' }, `${count} steps in the middle of the capture are left out.`),
  );
}

interface Row {
  readonly step: StepData;
  readonly y: number;
  /** Of the time before it. */
  readonly pauseMs: number;
}

/** Where lanes stand. */
interface Columns {
  has(id: string): boolean;
  x(id: string): number;
  label(id: string): string;
  /** Wider than its place. */
  readonly scrolls: boolean;
}

function diagram(
  sandbox: SandboxData,
  steps: readonly StepData[],
  roomPixels: number,
  pauses: boolean,
): SVGSVGElement {
  const placed = placeLanes(sandbox.lanes, steps);
  const columns = Math.max(...[...placed.values()].map(({ column }) => column)) + 1;
  const column = Math.min(MOST_COLUMN, Math.max(LEAST_COLUMN, Math.floor((roomPixels - TIMES) / columns)));
  const rows: Row[] = [];
  let y = HEAD;
  for (const [index, step] of steps.entries()) {
    const before = steps[index - 1];
    const pauseMs = before === undefined ? 0 : step.atMs - (before.untilMs ?? before.atMs);
    if (pauses && pauseMs >= PAUSE_MS) y += ROW;
    y += ROW;
    rows.push({ step, y, pauseMs: pauses && pauseMs >= PAUSE_MS ? pauseMs : 0 });
  }
  const width = TIMES + columns * column;
  const height = y + ROW;
  const at: Columns = {
    has: (id) => placed.has(id),
    x: (id) => TIMES + column / 2 + (placed.get(id)?.column ?? 0) * column,
    label: (id) => placed.get(id)?.lane.label ?? id,
    scrolls: TIMES + columns * column > roomPixels,
  };
  const rowY = (row: number): number => rows[row]?.y ?? HEAD;
  return s(
    'svg',
    {
      viewBox: `0 0 ${width} ${height}`,
      width,
      height,
      class: 'diagram',
      role: 'img',
      'aria-label': 'Sequence diagram',
    },
    arrowHeads(),
    ...[...placed.values()].flatMap((one) => lifeline(one, at.x(one.lane.id), rowY, height)),
    ...rows.flatMap(({ y, pauseMs }) => (pauseMs > 0 ? pauseLine(y - ROW, pauseMs, width) : [])),
    ...rows.map((row) => drawStep(row, at)),
    // Over the lines, so that a box that stands in the middle of them can be read.
    ...[...placed.values()].map((one) => head(one, at.x(one.lane.id), rowY)),
  );
}

function arrowHeads(): SVGElement {
  const one = (id: string): SVGElement =>
    s(
      'marker',
      {
        id,
        viewBox: '0 0 8 8',
        refX: 7,
        refY: 4,
        markerWidth: 8,
        markerHeight: 8,
        orient: 'auto',
        markerUnits: 'userSpaceOnUse',
      },
      s('path', { d: 'M0 0L8 4L0 8Z', class: id }),
    );
  return s('defs', {}, ...['head-plain', 'head-bad', 'head-stdin', 'head-stdout', 'head-stderr'].map(one));
}

/** Who is there before anything is said stands at the top. */
function boxY({ lane, made }: Placed, rowY: (row: number) => number): number {
  return lane.kind === 'process' && made > 0 ? rowY(made) - 13 : 8;
}

function lifeline(one: Placed, x: number, rowY: (row: number) => number, height: number): SVGElement[] {
  const from = boxY(one, rowY) + 28;
  const to = one.lane.kind === 'process' || one.lane.kind === 'client' ? rowY(one.last) + 8 : height - 8;
  if (to <= from) return [];
  return [s('line', { x1: x, y1: from, x2: x, y2: to, class: `lifeline ${one.lane.kind}` })];
}

function head(one: Placed, x: number, rowY: (row: number) => number): SVGElement {
  const { label, note, kind } = one.lane;
  const y = boxY(one, rowY);
  return s(
    'g',
    { class: `participant ${kind}` },
    s('title', {}, `${label}${note === '' ? '' : `: ${note}`}`),
    s('rect', { x: x - BOX / 2, y, width: BOX, height: 28, rx: kind === 'process' ? 4 : 14 }),
    s(
      'text',
      { x, y: y + (note === '' || kind === 'process' ? 18 : 13), 'text-anchor': 'middle' },
      clipped(label, 22),
    ),
    note !== '' &&
      kind !== 'process' &&
      s('text', { x, y: y + 23, 'text-anchor': 'middle', class: 'small' }, clipped(note, 26)),
  );
}

function pauseLine(y: number, pauseMs: number, width: number): SVGElement[] {
  const text = `${formatSpan(pauseMs * 1e6)} later`;
  return [
    s('line', { x1: TIMES, y1: y - 4, x2: width - 8, y2: y - 4, class: 'pause' }),
    s('text', { x: TIMES - 10, y, 'text-anchor': 'end', class: 'pause' }, text),
  ];
}

function drawStep({ step, y }: Row, columns: Columns): SVGElement {
  const { atMs, from, to, kind, text, number, bad, untilMs = atMs, stream = '' } = step;
  const words = untilMs - atMs >= 1 ? `${text}, ${formatSpan((untilMs - atMs) * 1e6)}` : text;
  const isNote = from === to;
  return s(
    'g',
    { class: ['step', kind, stream, bad && 'bad', isNote && 'note'].filter(Boolean).join(' ') },
    s('title', {}, `#${number}, ${clockText(atMs)}: ${words}`),
    s('text', { x: TIMES - 10, y: y + 4, 'text-anchor': 'end', class: 'time' }, clockText(atMs)),
    ...(isNote ? note(words, columns.x(from), y) : arrow(step, words, y, columns)),
  );
}

function note(words: string, x: number, y: number): SVGElement[] {
  return [s('circle', { cx: x, cy: y, r: 4 }), s('text', { x: x + 12, y: y + 4 }, words)];
}

function arrow(
  { from, to, makes, bad, stream }: StepData,
  words: string,
  y: number,
  columns: Columns,
): SVGElement[] {
  const [x1, x2] = [columns.x(from), columns.x(to)];
  const marker = bad ? 'bad' : (stream ?? 'plain');
  // A process that an answer makes stands in that answer's row, at the other side of the agent.
  const made = makes !== undefined && columns.has(makes);
  // Where there is no room for all columns, the left end of an arrow is what can be seen; the other end is named there.
  const process = [from, to].find((id) => id.startsWith('process'));
  const far = process !== undefined && columns.scrolls;
  const place = far
    ? { x: Math.min(x1, x2) + 16, 'text-anchor': 'start' }
    : { x: (x1 + x2) / 2, 'text-anchor': 'middle' };
  return [
    ...(made ? [s('line', { x1, y1: y, x2: columns.x(makes) - BOX / 2, y2: y, class: 'makes' })] : []),
    s('line', { x1, y1: y, x2: x2 - Math.sign(x2 - x1) * 2, y2: y, 'marker-end': `url(#head-${marker})` }),
    s('text', { ...place, y: y - 5 }, far ? `${columns.label(process)}: ${words}` : words),
  ];
}

function clipped(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most - 1)}…`;
}
