/**
 * A terminal's screen as rows of text: xterm's parser keeps it, this draws it. Nothing of a session becomes markup, and
 * of what a program may ask of a terminal (titles, links, the clipboard, answers) nothing happens.
 */
import type { IBufferCell, Terminal } from '@xterm/headless';
import { h } from './dom.ts';

const palette = [
  '#20292c',
  '#e0645c',
  '#6cbf7a',
  '#d9b45b',
  '#5b9bd9',
  '#c07fd0',
  '#4fb8b3',
  '#cfd8d6',
  '#5d6b6f',
  '#ff8a80',
  '#8fe39c',
  '#f2d27f',
  '#86bdf5',
  '#dda3ea',
  '#7fdcd6',
  '#f4f8f7',
] as const;
const FOREGROUND = '#d7e0de';
const BACKGROUND = '#11181a';

export function drawScreen(terminal: Terminal, into: HTMLElement): void {
  const { active } = terminal.buffer;
  const cell = active.getNullCell();
  const rows: HTMLElement[] = [];
  for (let y = 0; y < terminal.rows; y++) {
    const line = active.getLine(active.baseY + y);
    const row = h('div', { class: 'line' });
    let run: HTMLElement | undefined;
    let key = '';
    for (let x = 0; line !== undefined && x < terminal.cols; x++) {
      if (line.getCell(x, cell) === undefined) break;
      if (cell.getWidth() === 0) continue;
      const cursor = y === active.cursorY && x === active.cursorX;
      const look = lookOf(cell, cursor);
      if (run === undefined || look.key !== key) {
        run = h('span', { style: look.style });
        key = look.key;
        row.append(run);
      }
      run.append(cell.getChars() || ' ');
    }
    rows.push(row);
  }
  into.replaceChildren(...rows);
}

function lookOf(cell: IBufferCell, cursor: boolean): { key: string; style: Record<string, string> } {
  let front = cell.isFgDefault()
    ? FOREGROUND
    : colour(cell.isFgRGB(), cell.getFgColor(), cell.isBold() !== 0);
  let back = cell.isBgDefault() ? '' : colour(cell.isBgRGB(), cell.getBgColor(), false);
  if ((cell.isInverse() !== 0) !== cursor) [front, back] = [back || BACKGROUND, front];
  const style: Record<string, string> = { color: front };
  if (back !== '') style['background-color'] = back;
  if (cell.isBold()) style['font-weight'] = '700';
  if (cell.isItalic()) style['font-style'] = 'italic';
  if (cell.isDim()) style.opacity = '0.6';
  const lines = [cell.isUnderline() && 'underline', cell.isStrikethrough() && 'line-through'].filter(Boolean);
  if (lines.length > 0) style['text-decoration'] = lines.join(' ');
  if (cell.isInvisible()) style.visibility = 'hidden';
  return { key: Object.values(style).join(), style };
}

function colour(rgb: boolean, value: number, bold: boolean): string {
  if (rgb) return `#${value.toString(16).padStart(6, '0')}`;
  if (value < 16) return palette[bold && value < 8 ? value + 8 : value] as string;
  if (value >= 232) return grey(8 + 10 * (value - 232));
  const cube = value - 16;
  const part = (index: number): string => (index === 0 ? 0 : 55 + 40 * index).toString(16).padStart(2, '0');
  return `#${part(Math.floor(cube / 36))}${part(Math.floor(cube / 6) % 6)}${part(cube % 6)}`;
}

function grey(level: number): string {
  return `#${level.toString(16).padStart(2, '0').repeat(3)}`;
}
