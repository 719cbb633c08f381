/**
 * What stands on the operator's terminal, cell by cell. A terminal obeys control characters, so none is ever in a cell:
 * whatever text is put here, only what this file itself makes can move the cursor or set a mode.
 */
import { printable } from '../words/text.ts';

export interface Size {
  readonly columns: number;
  readonly rows: number;
}

/** Two columns wide on every terminal that follows Unicode's East Asian Width and emoji presentation. */
const WIDE =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6]|[\u{1f000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
/** What has no width of its own, and nothing to stand on. */
const NO_WIDTH = /^[\p{M}\p{Cf}]+$/u;
const ASCII = /^[\x20-\x7e]*$/;
const segmenter = new Intl.Segmenter();

/** What takes one cell, or two. */
export function* glyphs(text: string): Generator<{ readonly glyph: string; readonly width: 1 | 2 }> {
  const safe = printable(text);
  if (ASCII.test(safe)) {
    for (const glyph of safe) yield { glyph, width: 1 };
    return;
  }
  for (const { segment } of segmenter.segment(safe)) {
    if (NO_WIDTH.test(segment)) continue;
    yield { glyph: segment, width: WIDE.test(segment) ? 2 : 1 };
  }
}

export function widthOf(text: string): number {
  let width = 0;
  for (const one of glyphs(text)) width += one.width;
  return width;
}

/** At most `columns` wide; what is cut ends in `…`. */
export function fit(text: string, columns: number): string {
  if (text.length <= columns && ASCII.test(text)) return text;
  if (columns <= 0) return '';
  let kept = '';
  let width = 0;
  for (const one of glyphs(text)) {
    if (width + one.width > columns - 1) {
      const whole = widthOf(text) <= columns;
      return whole ? printable(text) : `${kept}…`;
    }
    kept += one.glyph;
    width += one.width;
  }
  return kept;
}

/** Words in lines of at most `columns`. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of printable(text).split(' ')) {
    if (line !== '' && widthOf(line) + 1 + widthOf(word) > columns) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  if (line !== '') lines.push(line);
  return lines.map((one) => fit(one, columns));
}

export class Screen {
  readonly columns: number;
  readonly rows: number;
  /** '' is the second half of a wide one. */
  readonly #glyphs: string[];
  readonly #styles: string[];

  constructor({ columns, rows }: Size) {
    this.columns = columns;
    this.rows = rows;
    this.#glyphs = new Array<string>(columns * rows).fill(' ');
    this.#styles = new Array<string>(columns * rows).fill('');
  }

  /**
   * Puts text into a row; what goes beyond `width` is left out.
   * @returns the column behind it
   */
  put(row: number, column: number, text: string, style = '', width = this.columns - column): number {
    if (row < 0 || row >= this.rows) return column;
    const end = Math.min(this.columns, column + width);
    let at = column;
    for (const one of glyphs(text)) {
      if (at + one.width > end) break;
      const index = row * this.columns + at;
      this.#glyphs[index] = one.glyph;
      this.#styles[index] = style;
      if (one.width === 2) {
        this.#glyphs[index + 1] = '';
        this.#styles[index + 1] = style;
      }
      at += one.width;
    }
    return at;
  }

  /** Text that ends before `end`. */
  putRight(row: number, end: number, text: string, style = ''): void {
    this.put(row, Math.max(0, end - widthOf(text)), text, style);
  }

  fill(row: number, style: string, glyph = ' '): void {
    this.put(row, 0, glyph.repeat(this.columns), style);
  }

  /** Adds to the styles of a row that is there. */
  over(row: number, style: string): void {
    for (let column = 0; column < this.columns; column++) {
      const index = row * this.columns + column;
      this.#styles[index] = this.#styles[index] === '' ? style : `${style};${this.#styles[index]}`;
    }
  }

  /**
   * What turns the terminal, on which `previous` stands, into this.
   * @param style turns parameters of SGR into those that the terminal has
   */
  changes(previous: Screen | undefined, style: (parameters: string) => string = (one) => one): string {
    let text = '';
    let pen: string | undefined;
    /** Where the cursor is known to stand. */
    let cursor = -1;
    const same = previous?.columns === this.columns && previous.rows === this.rows;
    for (let index = 0; index < this.#glyphs.length; index++) {
      const glyph = this.#glyphs[index] as string;
      const own = this.#styles[index] as string;
      if (glyph === '' || (same && this.#stands(previous, index))) continue;
      if (cursor !== index) text += move(index, this.columns);
      if (pen !== own) {
        const parameters = style(own);
        text += parameters === '' ? '\x1b[0m' : `\x1b[0;${parameters}m`;
        pen = own;
      }
      text += glyph;
      // Terminals differ in how wide they take other glyphs to be, and at a row's end.
      const sure = glyph.length === 1 && glyph < '\u3000' && (index + 1) % this.columns !== 0;
      cursor = sure ? index + 1 : -1;
    }
    return text === '' ? '' : `${text}\x1b[0m`;
  }

  #stands(previous: Screen, index: number): boolean {
    const half = this.#glyphs[index + 1] === '' && previous.#glyphs[index + 1] !== '';
    return (
      !half &&
      previous.#glyphs[index] === this.#glyphs[index] &&
      previous.#styles[index] === this.#styles[index]
    );
  }

  /** For tests, and for people. */
  toString(): string {
    const lines: string[] = [];
    for (let row = 0; row < this.rows; row++)
      lines.push(
        this.#glyphs
          .slice(row * this.columns, (row + 1) * this.columns)
          .join('')
          .trimEnd(),
      );
    return lines.join('\n');
  }
}

function move(index: number, columns: number): string {
  return `\x1b[${Math.floor(index / columns) + 1};${(index % columns) + 1}H`;
}
