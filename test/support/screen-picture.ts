/** A terminal's screen as a picture in SVG: each cell where it stands, in its colours. */
import type xterm from '@xterm/headless';

type Terminal = InstanceType<typeof xterm.Terminal>;

const CELL = { width: 8.4, height: 18 };
const EDGE = 12;
const BACKGROUND = '#101418';
const FOREGROUND = '#d6dde4';
const ANSI =
  '#1c2127 #e06c75 #98c379 #e5c07b #61afef #c678dd #56b6c2 #c8ccd4 #5c6370 #ff7b86 #b5e08c #ffd78a #7cc0ff #d99bf0 #6fd3df #ffffff'.split(
    ' ',
  );
const STEPS = [0, 95, 135, 175, 215, 255];

export function pictureOf(terminal: Terminal, title: string): string {
  const { cols, rows } = terminal;
  const [width, height] = [cols * CELL.width + 2 * EDGE, rows * CELL.height + 2 * EDGE];
  const parts: string[] = [];
  for (let row = 0; row < rows; row++)
    for (const run of runsOf(terminal, row)) parts.push(...drawRun(run, row));
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width.toFixed(0)} ${height}" font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="14">
<title>${escaped(title)}</title>
<rect width="100%" height="100%" rx="8" fill="${BACKGROUND}"/>
${parts.join('\n')}
</svg>
`;
}

/** Neighbours that look the same. */
interface Run {
  readonly column: number;
  columns: number;
  text: string;
  readonly ink: string;
  readonly paper: string;
  readonly look: string;
}

function runsOf(terminal: Terminal, row: number): Run[] {
  const { active } = terminal.buffer;
  const line = active.getLine(active.viewportY + row);
  const runs: Run[] = [];
  for (let column = 0; column < terminal.cols; column++) {
    const cell = line?.getCell(column);
    if (cell === undefined || cell.getWidth() === 0) continue;
    let ink = cell.isFgDefault() ? FOREGROUND : colour(cell.isFgRGB(), cell.getFgColor());
    let paper = cell.isBgDefault() ? BACKGROUND : colour(cell.isBgRGB(), cell.getBgColor());
    if (cell.isInverse()) [ink, paper] = [paper, ink];
    const look = `${cell.isBold() ? ' font-weight="bold"' : ''}${cell.isItalic() ? ' font-style="italic"' : ''}`;
    const last = runs.at(-1);
    if (last !== undefined && last.ink === ink && last.paper === paper && last.look === look) {
      last.text += cell.getChars() || ' ';
      last.columns += cell.getWidth();
    } else runs.push({ column, columns: cell.getWidth(), text: cell.getChars() || ' ', ink, paper, look });
  }
  return runs;
}

function drawRun({ column, columns, text, ink, paper, look }: Run, row: number): string[] {
  const [x, y] = [(EDGE + column * CELL.width).toFixed(1), EDGE + row * CELL.height];
  const width = columns * CELL.width;
  const parts: string[] = [];
  // Half a pixel more, so that neighbours leave no seam.
  if (paper !== BACKGROUND)
    parts.push(
      `<rect x="${x}" y="${y}" width="${(width + 0.5).toFixed(1)}" height="${CELL.height + 0.5}" fill="${paper}"/>`,
    );
  if (text.trim() !== '')
    parts.push(
      `<text x="${x}" y="${y + 13.5}" textLength="${width.toFixed(1)}" xml:space="preserve" fill="${ink}"${look}>${escaped(text)}</text>`,
    );
  return parts;
}

function colour(rgb: boolean, value: number): string {
  if (rgb) return `#${value.toString(16).padStart(6, '0')}`;
  if (value < 16) return ANSI[value] as string;
  const levels =
    value >= 232
      ? [0, 0, 0].map(() => 8 + (value - 232) * 10)
      : [36, 6, 1].map((unit) => STEPS[Math.floor((value - 16) / unit) % 6] as number);
  return `#${levels.map((level) => level.toString(16).padStart(2, '0')).join('')}`;
}

function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
}
