/** One stream, opened: its last bytes as text, as hexadecimal, or as the terminal that they were written for. */
import xterm from '@xterm/headless';
import { formatBytes, printable } from '../words/text.ts';
import type { StreamTail } from './contents.ts';
import { drawKeyBar } from './list-view.ts';
import { fit, glyphs, type Screen, type Size } from './screen.ts';
import { type Row, shortSpan } from './snapshot.ts';
import { style, styled } from './style.ts';

export const streamModes = ['text', 'hex', 'screen'] as const;
export type StreamMode = (typeof streamModes)[number];

export interface StreamViewState {
  /** As it was when it was opened, or is now. */
  readonly row: Row;
  readonly mode: StreamMode;
  /** Lines above the end; 0 follows it. */
  readonly scroll: number;
  readonly frozen: boolean;
  readonly payload: boolean;
  readonly tail: StreamTail | undefined;
  readonly terminal: StreamTerminal | undefined;
}

const HEAD_ROWS = 3;
/** A terminal says its own size; a stream that has none is shown on this one. */
const TERMINAL_SIZE = { columns: 80, rows: 24 };

export function drawStream(screen: Screen, state: StreamViewState): void {
  drawHead(screen, state);
  const height = screen.rows - HEAD_ROWS - 1;
  if (!state.payload) drawWords(screen, NO_PAYLOAD);
  else if (state.tail === undefined)
    drawWords(screen, ['Nothing of this stream has crossed since this view was started.']);
  else if (state.mode === 'screen') drawTerminal(screen, state.terminal, height);
  else drawLines(screen, state, state.tail, height);
  drawKeyBar(screen, [
    ['Tab', 'text, hex, screen'],
    ['↑↓', 'scroll'],
    ['End', 'follow'],
    ['f', state.frozen ? 'go on' : 'freeze'],
    ['Esc', 'back'],
    ['q', 'quit'],
  ]);
}

const NO_PAYLOAD = [
  'What is typed and printed is not captured.',
  'To see it, begin again with:  coracle-tap live --payload',
  'It then shows all that users type, passwords too.',
];

function drawHead(screen: Screen, { row, mode, frozen }: StreamViewState): void {
  screen.fill(0, style.bar);
  screen.put(0, 1, fit(row.opens?.name ?? row.name, screen.columns - 30), style.barStrong);
  let end = screen.columns - 1;
  for (const one of [...streamModes].reverse()) {
    const text = ` ${one} `;
    end -= text.length;
    screen.put(0, end, text, one === mode ? styled(style.barStrong, '7') : style.bar);
  }
  if (frozen) screen.putRight(0, end - 1, '❄ frozen', style.barWarning);
  const facts = [
    row.state,
    ...(row.waits === undefined ? [] : [row.waits]),
    `${formatBytes(Math.round(row.rate))}/s`,
    ...(row.window === undefined
      ? []
      : [`${formatBytes(row.window.unacknowledged)} of ${formatBytes(row.window.allowed)} unacknowledged`]),
    ...(row.tripNs === undefined ? [] : [`delivered after ${shortSpan(row.tripNs)}`]),
  ];
  screen.put(
    1,
    1,
    fit(facts.join('  ·  '), screen.columns - 2),
    row.level === 'problem' ? style.problem : style.faint,
  );
  screen.fill(2, style.rule, '─');
}

function drawWords(screen: Screen, lines: readonly string[]): void {
  const top = Math.max(HEAD_ROWS, Math.floor((screen.rows - lines.length) / 2) - 1);
  for (const [index, text] of lines.entries())
    screen.put(
      top + index,
      Math.max(1, Math.floor((screen.columns - text.length) / 2)),
      text,
      index === 0 ? style.bold : style.faint,
    );
}

function drawLines(
  screen: Screen,
  { mode, scroll }: StreamViewState,
  tail: StreamTail,
  height: number,
): void {
  const lines = mode === 'hex' ? hexLines(tail, screen.columns) : textLines(tail, screen.columns);
  const end = Math.max(height, lines.length - scroll);
  for (const [index, line] of lines.slice(Math.max(0, end - height), end).entries()) {
    const split = mode === 'hex' ? OFFSET_CHARACTERS : 0;
    screen.put(HEAD_ROWS + index, 1, line.slice(0, split), style.faint);
    screen.put(HEAD_ROWS + index, 1 + split, line.slice(split));
  }
}

const OFFSET_CHARACTERS = 10;

export function hexLines(tail: StreamTail, columns: number): string[] {
  const perLine =
    columns >= OFFSET_CHARACTERS + 32 * 4 + 6 ? 32 : columns >= OFFSET_CHARACTERS + 16 * 4 + 4 ? 16 : 8;
  const bytes = tail.from(tail.start);
  const lines: string[] = [];
  // Lines begin at round offsets, so that they do not move while bytes come.
  for (let at = tail.start - (tail.start % perLine); at < tail.end; at += perLine) {
    const row = bytes.subarray(Math.max(0, at - tail.start), at + perLine - tail.start);
    const before = Math.max(0, tail.start - at);
    const hex = `${'   '.repeat(before)}${row.toString('hex').replaceAll(/../g, '$& ')}`.padEnd(perLine * 3);
    const text = ' '.repeat(before) + row.toString('latin1').replaceAll(/[^\x20-\x7e]/g, '·');
    lines.push(`${at.toString(16).padStart(8, '0')}  ${hex} ${text}`);
  }
  return lines;
}

/** Lines stay lines; everything else that a terminal would obey is an escape. */
export function textLines(tail: StreamTail, columns: number): string[] {
  const text = tail.from(tail.start).toString('utf8').replaceAll('\r\n', '\n');
  const lines = text.split('\n').flatMap((line) => cut(printable(line), columns - 2));
  if (lines.at(-1) === '') lines.pop();
  return lines;
}

function cut(line: string, columns: number): string[] {
  const lines: string[] = [];
  let piece = '';
  let width = 0;
  for (const one of glyphs(line)) {
    if (width + one.width > columns) {
      lines.push(piece);
      piece = '';
      width = 0;
    }
    piece += one.glyph;
    width += one.width;
  }
  lines.push(piece);
  return lines;
}

/** A terminal in memory: what it is told to do, it does there. */
export class StreamTerminal {
  readonly #terminal: InstanceType<typeof xterm.Terminal>;
  #offset: number;
  readonly #written: () => void;

  /** @param written called when bytes have changed it */
  constructor(tail: StreamTail, size: Size | undefined, written: () => void) {
    const { columns, rows } = size ?? TERMINAL_SIZE;
    this.#terminal = new xterm.Terminal({
      cols: Math.min(500, columns),
      rows: Math.min(300, rows),
      scrollback: 0,
      allowProposedApi: true,
      // It would tell of what it can't read on the operator's own terminal.
      logLevel: 'off',
    });
    this.#offset = tail.start;
    this.#written = written;
  }

  /** Takes what is new. */
  follow(tail: StreamTail): void {
    if (tail.end <= this.#offset) return;
    const bytes = tail.from(this.#offset);
    this.#offset = tail.end;
    this.#terminal.write(bytes, this.#written);
  }

  resize(size: Size | undefined): void {
    if (size === undefined) return;
    const [columns, rows] = [Math.min(500, size.columns), Math.min(300, size.rows)];
    if (columns !== this.#terminal.cols || rows !== this.#terminal.rows) this.#terminal.resize(columns, rows);
  }

  get columns(): number {
    return this.#terminal.cols;
  }
  get rows(): number {
    return this.#terminal.rows;
  }

  /** Each cell with its style; those that are the second half of a wide one are left out. */
  *cells(row: number): Generator<{ readonly column: number; readonly glyph: string; readonly look: string }> {
    const buffer = this.#terminal.buffer.active;
    const line = buffer.getLine(buffer.viewportY + row);
    for (let column = 0; column < this.columns; column++) {
      const cell = line?.getCell(column);
      if (cell === undefined || cell.getWidth() === 0) continue;
      const cursor = row === buffer.cursorY && column === buffer.cursorX;
      yield { column, glyph: cell.getChars() || ' ', look: styled(lookOf(cell), cursor ? '7' : '') };
    }
  }
}

type Cell = NonNullable<
  ReturnType<
    NonNullable<ReturnType<InstanceType<typeof xterm.Terminal>['buffer']['active']['getLine']>>['getCell']
  >
>;

function lookOf(cell: Cell): string {
  return styled(
    cell.isBold() ? '1' : '',
    cell.isDim() ? '2' : '',
    cell.isItalic() ? '3' : '',
    cell.isUnderline() ? '4' : '',
    cell.isInverse() ? '7' : '',
    colour(3, cell.isFgRGB(), cell.isFgPalette(), cell.getFgColor()),
    colour(4, cell.isBgRGB(), cell.isBgPalette(), cell.getBgColor()),
  );
}

/** SGR's 38 and 48. */
function colour(ground: 3 | 4, rgb: boolean, palette: boolean, value: number): string {
  if (rgb) return `${ground}8;2;${(value >> 16) & 255};${(value >> 8) & 255};${value & 255}`;
  return palette ? `${ground}8;5;${value & 255}` : '';
}

function drawTerminal(screen: Screen, terminal: StreamTerminal | undefined, height: number): void {
  if (terminal === undefined) return;
  const framed = terminal.rows + 2 <= height && terminal.columns + 2 <= screen.columns;
  const left = framed ? Math.floor((screen.columns - terminal.columns) / 2) : 0;
  const top = HEAD_ROWS + (framed ? 1 : 0);
  if (framed) drawFrame(screen, top - 1, left - 1, terminal);
  // Of one that is too high its end, where things happen.
  const rows = Math.min(terminal.rows, height);
  const first = terminal.rows - rows;
  for (let row = 0; row < rows; row++)
    for (const { column, glyph, look } of terminal.cells(first + row))
      if (left + column < screen.columns) screen.put(top + row, left + column, glyph, look, 2);
}

function drawFrame(screen: Screen, top: number, left: number, { columns, rows }: StreamTerminal): void {
  const title = ` ${columns}×${rows} `;
  screen.put(top, left, `╭─${title}${'─'.repeat(columns - title.length - 1)}╮`, style.rule);
  for (let row = 1; row <= rows; row++) {
    screen.put(top + row, left, '│', style.rule);
    screen.put(top + row, left + columns + 1, '│', style.rule);
  }
  screen.put(top + rows + 1, left, `╰${'─'.repeat(columns)}╯`, style.rule);
}
