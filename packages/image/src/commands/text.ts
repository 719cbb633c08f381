/** Text for people. Colours only where `styleText` finds a terminal that wants them (NO_COLOR, FORCE_COLOR). */
import { styleText } from 'node:util';

type Style = Parameters<typeof styleText>[0];

export function style(format: Style, text: string): string {
  return styleText(format, text, { stream: process.stdout });
}

/** Names out of an image may hold anything; a terminal obeys control characters. */
export function printable(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replaceAll(/[\x00-\x08\x0b-\x1f\x7f-\x9f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`;
  });
}

const units = ['B', 'KiB', 'MiB', 'GiB'];

export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** A difference, with its sign. */
export function formatGrowth(bytes: number): string {
  return `${bytes < 0 ? '-' : '+'}${formatBytes(Math.abs(bytes))}`;
}

export function formatAge(usedMs: number, nowMs: number = Date.now()): string {
  const minutes = Math.max(0, Math.floor((nowMs - usedMs) / 60_000));
  if (minutes < 1) return 'just now';
  if (minutes < 60) return `${minutes} min ago`;
  if (minutes < 48 * 60) return `${Math.floor(minutes / 60)} h ago`;
  return `${Math.floor(minutes / (24 * 60))} days ago`;
}

/** Columns side by side, two blanks between them; those in `right` are lined up at their ends. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const cells = rows.map((row) => row.map((cell) => printable(cell).replaceAll(/[\n\t]/g, ' ')));
  const widths: number[] = [];
  for (const row of cells) {
    for (const [column, cell] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, cell.length);
  }
  return cells.map((row) =>
    row
      .map((cell, column) => {
        const width = widths[column] ?? 0;
        return right.includes(column) ? cell.padStart(width) : cell.padEnd(width);
      })
      .join('  ')
      .trimEnd(),
  );
}

const eighths = ['', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/** A bar in eighths of a column; something that is there at all shows at least one. */
export function bar(part: number, whole: number, columns: number): string {
  if (part <= 0 || whole <= 0) return '';
  const steps = Math.max(1, Math.round((Math.min(part, whole) / whole) * columns * 8));
  return '█'.repeat(Math.floor(steps / 8)) + (eighths[steps % 8] ?? '');
}
