/**
 * Text for people. Names and messages in a capture come from guests and clients, and a terminal obeys control
 * characters: nothing reaches it that has not been through `printable`.
 */

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const UNSAFE = /[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/;
const ALL_UNSAFE = new RegExp(UNSAFE, 'g');

/** One line: control characters, and those that turn text around, are shown as escapes. */
export function printable(text: string): string {
  return UNSAFE.test(text) ? text.replaceAll(ALL_UNSAFE, escaped) : text;
}

function escaped(character: string): string {
  const code = character.charCodeAt(0);
  if (character === '\n') return '\\n';
  if (character === '\r') return '\\r';
  if (character === '\t') return '\\t';
  return code < 256 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`;
}

/** JSON on one line that a terminal may be shown, too. */
export function jsonLine(value: unknown): string {
  const text = JSON.stringify(value);
  return UNSAFE.test(text)
    ? text.replaceAll(ALL_UNSAFE, (character) => `\\u${hex(character.charCodeAt(0), 4)}`)
    : text;
}

function hex(value: number, digits: number): string {
  return value.toString(16).padStart(digits, '0');
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];

export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

export function count(number: number, one: string, many = `${one}s`): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** A span of time: "350 µs", "12.3 ms", "4.10 s", "2 min 5 s". */
export function formatSpan(ns: number): string {
  if (ns < 1e6) return `${Math.round(ns / 1e3)} µs`;
  if (ns < 1e9) return `${(ns / 1e6).toFixed(1)} ms`;
  if (ns < 120e9) return `${(ns / 1e9).toFixed(2)} s`;
  const seconds = Math.round(ns / 1e9);
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** Wall clock of the machine that reads, to the microsecond: "14:03:22.123456". */
export function formatClock(startNs: bigint, timeNs: number): string {
  const ns = startNs + BigInt(Math.round(timeNs));
  const date = new Date(Number(ns / 1_000_000n));
  const two = (value: number): string => String(value).padStart(2, '0');
  const micros = String(Number((ns / 1000n) % 1_000_000n)).padStart(6, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${micros}`;
}

/** Columns side by side, two blanks between them; those in `right` are lined up at their ends. */
export function table(rows: readonly (readonly string[])[], right: readonly number[] = []): string[] {
  const cells = rows.map((row) => row.map(printable));
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
