/** The first page: a row for each sandbox, process and stream, and below what is to be said of the chosen one. */
import { count, formatBytes } from '../words/text.ts';
import { fit, type Screen, widthOf, wrap } from './screen.ts';
import { type Level, type Row, type Snapshot, shortSpan } from './snapshot.ts';
import { SELECTED, style, styled } from './style.ts';

export interface ListState {
  /** Key of the chosen row. */
  readonly selected: string | undefined;
  /** Keys of rows whose parts are not shown. */
  readonly folded: ReadonlySet<string>;
  readonly filter: string;
  /** The filter is being typed. */
  readonly typing: boolean;
  readonly frozen: boolean;
  readonly all: boolean;
}

const levelStyles: Readonly<Record<Level, string>> = {
  flowing: style.good,
  idle: style.plain,
  warning: style.warning,
  problem: style.problem,
  done: style.faint,
};

/** Below the list: a rule and lines of text. */
function aboutRows(rows: number): number {
  return Math.max(3, Math.min(7, Math.floor(rows / 5) + 1));
}
const HEAD_ROWS = 2;

/** Those that fit the filter, with what they are part of; without what is folded. */
export function visibleRows({ rows }: Snapshot, { filter, folded }: ListState): Row[] {
  const words = filter.toLowerCase().split(' ').filter(Boolean);
  const fits = (row: Row, path: string): boolean => {
    const text = `${path} ${row.state} ${row.who ?? ''} ${row.level}`.toLowerCase();
    return words.every((word) => text.includes(word));
  };
  const wanted = new Set<string>();
  const path: string[] = [];
  const names: string[] = [];
  for (const row of rows) {
    const depth = depthOf(row);
    path.length = names.length = depth;
    path.push(row.key);
    names.push(row.name);
    if (words.length === 0 || fits(row, names.join(' '))) for (const key of path) wanted.add(key);
  }
  const hidden = (key: string): boolean => [...folded].some((one) => key.startsWith(`${one}\0`));
  return rows.filter(({ key }) => wanted.has(key) && !hidden(key));
}

const depths = { sandbox: 0, process: 1, stream: 2 } as const;
const depthOf = ({ kind }: Row): number => depths[kind];

export function drawList(screen: Screen, snapshot: Snapshot, state: ListState): void {
  const rows = visibleRows(snapshot, state);
  const columns = columnsFor(screen.columns);
  drawTitle(screen, snapshot, state);
  drawHead(screen, columns);
  const height = screen.rows - HEAD_ROWS - aboutRows(screen.rows) - 1;
  const lines = rows.flatMap((row) =>
    row.waits === undefined ? [{ row }] : [{ row }, { row, waits: row.waits }],
  );
  const chosen = lines.findIndex(({ row }) => row.key === state.selected);
  const first = Math.max(0, Math.min(lines.length - height, chosen - Math.floor(height / 2)));
  for (const [index, line] of lines.slice(first, first + height).entries()) {
    const at = HEAD_ROWS + index;
    if ('waits' in line) drawWaits(screen, at, line.row, line.waits);
    else drawRow(screen, at, line.row, columns, markOf(line.row, snapshot, state));
    if (line.row.key === state.selected) select(screen, at);
  }
  if (rows.length === 0) drawNothing(screen, snapshot, state);
  const below = lines.length - first - height;
  drawAbout(
    screen,
    rows.find(({ key }) => key === state.selected),
    below,
  );
  drawKeys(screen, state);
}

function select(screen: Screen, row: number): void {
  screen.over(row, SELECTED);
}

function drawTitle(screen: Screen, snapshot: Snapshot, { frozen }: ListState): void {
  screen.fill(0, style.bar);
  const { feed, problems, toClients, toGuests } = snapshot;
  let at = screen.put(0, 1, 'coracle-tap live', style.barStrong);
  const counts = new Map<string, number>();
  for (const { kind } of snapshot.rows) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  const number = (kind: string): number => counts.get(kind) ?? 0;
  const [sandboxes, processes, streams] = [number('sandbox'), number('process'), number('stream')];
  const some =
    screen.columns < 100
      ? `${sandboxes}/${processes}/${streams}`
      : `${count(sandboxes, 'sandbox', 'sandboxes')}  ${count(processes, 'process', 'processes')}  ${count(streams, 'stream')}`;
  at = screen.put(0, at + 3, some, style.bar);
  at = screen.put(
    0,
    at + 3,
    `↓ ${formatBytes(Math.round(toClients))}/s  ↑ ${formatBytes(Math.round(toGuests))}/s`,
    style.bar,
  );
  if (problems > 0) screen.put(0, at + 2, ` ${problems} stuck `, style.barProblem);
  const [text, look] = frozen
    ? ['❄ frozen', style.barWarning]
    : feed.state === 'capturing'
      ? [feed.payload ? '● live, with payload' : '● live', style.barStrong]
      : ['○ no proxy', style.barWarning];
  screen.putRight(0, screen.columns - 1, text, look);
}

function markOf({ key }: Row, { rows }: Snapshot, { folded }: ListState): string {
  if (!rows.some((other) => other.key.startsWith(`${key}\0`))) return '·';
  return folded.has(key) ? '▸' : '▾';
}

interface Columns {
  readonly name: number;
  readonly rate: number;
  /** 0: no room for it. */
  readonly history: number;
  readonly window: number;
  readonly bar: number;
  readonly trip: number;
  readonly state: number;
}

const GAP = 2;
const RATE = 11;
const UNACKNOWLEDGED = 9;
const TRIP = 7;
const STATE = 15;

function columnsFor(width: number): Columns {
  const history = width >= 110 ? 24 : width >= 96 ? 12 : 0;
  const bar = width >= 110 ? 14 : 8;
  const fixed = RATE + bar + UNACKNOWLEDGED + TRIP + STATE + 5 * GAP + (history > 0 ? history + GAP : 0) + 1;
  const name = Math.max(16, Math.min(48, width - fixed));
  const rate = 1 + name + GAP;
  const historyAt = rate + RATE + GAP;
  const barAt = history > 0 ? historyAt + history + GAP : historyAt;
  const trip = barAt + bar + 1 + UNACKNOWLEDGED + GAP;
  return { name, rate, history, window: barAt, bar, trip, state: trip + TRIP + GAP };
}

function drawHead(screen: Screen, columns: Columns): void {
  const put = (at: number, text: string): void => void screen.put(1, at, text, styled(style.faint, '1'));
  put(1, columns.name < 26 ? 'NAME' : 'SANDBOX / PROCESS / STREAM');
  screen.putRight(1, columns.rate + RATE, 'RATE', styled(style.faint, '1'));
  if (columns.history > 0) put(columns.rate + RATE + GAP, 'HISTORY'.slice(0, columns.history));
  put(columns.window, 'WINDOW');
  screen.putRight(1, columns.window + columns.bar + 1 + UNACKNOWLEDGED, 'UNACKED', styled(style.faint, '1'));
  screen.putRight(1, columns.trip + TRIP, 'TRIP', styled(style.faint, '1'));
  put(columns.state, 'STATE');
}

function drawRow(screen: Screen, at: number, row: Row, columns: Columns, mark: string): void {
  const look = levelStyles[row.level];
  const depth = depthOf(row);
  const nameStyle =
    row.kind === 'sandbox'
      ? styled(row.level === 'done' ? style.faint : style.accent, '1')
      : row.kind === 'process'
        ? styled(look, row.level === 'done' ? '' : '1')
        : look;
  screen.put(at, 1 + 2 * depth, mark, style.faint);
  screen.put(at, 3 + 2 * depth, fit(row.name, columns.name - 2 - 2 * depth), nameStyle);
  screen.putRight(at, columns.rate + RATE, rateText(row.rate), row.rate > 0 ? style.good : style.faint);
  if (columns.history > 0) drawHistory(screen, at, columns.rate + RATE + GAP, row.history, columns.history);
  if (row.kind === 'stream') {
    if (row.window !== undefined) drawWindow(screen, at, columns, row.window);
    if (row.tripNs !== undefined)
      screen.putRight(at, columns.trip + TRIP, shortSpan(row.tripNs), style.plain);
  } else
    screen.put(at, columns.window, fit(row.who ?? '', columns.state - GAP - columns.window), style.faint);
  screen.put(
    at,
    columns.state,
    fit(row.state, screen.columns - columns.state),
    styled(look, row.level === 'problem' ? '1' : ''),
  );
}

function rateText(rate: number): string {
  return rate < 0.5 ? '–' : `${formatBytes(Math.round(rate))}/s`;
}

const EIGHTHS = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];
const LEVELS = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

function drawHistory(
  screen: Screen,
  at: number,
  from: number,
  history: readonly number[],
  width: number,
): void {
  const shown = history.slice(-width);
  const most = Math.max(...shown, 1);
  const text = shown.map((one) => LEVELS[one <= 0 ? 0 : Math.max(1, Math.round((one / most) * 8))]).join('');
  screen.put(at, from + width - shown.length, text, style.accent);
}

/** How much of what may be sent is on its way: full is no credit. */
function drawWindow(
  screen: Screen,
  at: number,
  columns: Columns,
  { allowed, unacknowledged }: { readonly allowed: number; readonly unacknowledged: number },
): void {
  const used = allowed === 0 ? (unacknowledged > 0 ? 1 : 0) : Math.min(1, unacknowledged / allowed);
  const eighths = Math.round(used * columns.bar * 8);
  const text = '█'.repeat(Math.floor(eighths / 8)) + (EIGHTHS[eighths % 8] as string);
  const look = used >= 1 ? style.problem : used > 0.75 ? style.warning : style.good;
  screen.put(at, columns.window, '░'.repeat(columns.bar), style.rule);
  screen.put(at, columns.window, text, look);
  const bytes = unacknowledged === 0 ? '–' : formatBytes(unacknowledged);
  screen.putRight(
    at,
    columns.window + columns.bar + 1 + UNACKNOWLEDGED,
    bytes,
    unacknowledged === 0 ? style.faint : look,
  );
}

function drawWaits(screen: Screen, at: number, row: Row, waits: string): void {
  const from = 3 + 2 * depthOf(row);
  const look = row.level === 'problem' ? style.problem : style.warning;
  screen.put(at, from, '↳', look);
  screen.put(at, from + 2, fit(waits, screen.columns - from - 3), styled(look, '3'));
}

function drawNothing(screen: Screen, { feed, rows }: Snapshot, { filter }: ListState): void {
  const lines =
    rows.length > 0 && filter !== ''
      ? ['Nothing fits the filter.']
      : feed.state === 'capturing'
        ? ['No sandbox is connected to this proxy.', 'Whatever begins from now on is shown here.']
        : [
            feed.proxies > 0 ? 'The proxy is gone; waiting for the next one on' : 'No proxy listens on',
            feed.socketPath,
            ...(feed.proxies > 0 ? [] : ['Waiting for one. --proxy SOCKET names another.']),
          ];
  const top = Math.max(HEAD_ROWS, Math.floor((screen.rows - lines.length) / 2) - 2);
  for (const [index, line] of lines.entries()) {
    const text = fit(line, screen.columns - 2);
    screen.put(
      top + index,
      Math.max(1, Math.floor((screen.columns - widthOf(text)) / 2)),
      text,
      index === 0 ? style.bold : style.faint,
    );
  }
}

function drawAbout(screen: Screen, row: Row | undefined, below: number): void {
  const height = aboutRows(screen.rows);
  const top = screen.rows - 1 - height;
  screen.fill(top, style.rule, '─');
  if (below > 0) screen.putRight(top, screen.columns - 2, ` ${below} more ↓ `, style.faint);
  if (row === undefined) return;
  const lines = row.about.flatMap((one, index) =>
    wrap(one, screen.columns - 2).map((text) => ({
      text,
      look: index === 0 && row.level === 'problem' ? style.problem : style.plain,
    })),
  );
  for (const [index, { text, look }] of lines.slice(0, height - 1).entries())
    screen.put(top + 1 + index, 1, text, look);
}

function drawKeys(screen: Screen, state: ListState): void {
  const at = screen.rows - 1;
  if (state.typing) {
    const end = screen.put(at, screen.put(at, 1, 'filter: ', style.key), state.filter, style.bold);
    screen.put(at, end, ' ', '7');
    screen.putRight(at, screen.columns - 1, 'Enter keeps it, Esc drops it', style.faint);
    return;
  }
  drawKeyBar(screen, [
    ['↑↓', 'choose'],
    ['Enter', 'open'],
    ['←→', 'fold'],
    ['n', 'next stuck'],
    ['/', state.filter === '' ? 'filter' : `filter: ${state.filter}`],
    ['f', state.frozen ? 'go on' : 'freeze'],
    ['a', state.all ? 'hide ended' : 'all'],
    ['q', 'quit'],
  ]);
}

export function drawKeyBar(screen: Screen, keys: readonly (readonly [string, string])[]): void {
  let column = 1;
  for (const [key, what] of keys) {
    column = screen.put(screen.rows - 1, column, key, style.key);
    column = screen.put(screen.rows - 1, column + 1, what, style.faint) + 2;
  }
}
