import fc from 'fast-check';
import { expect, it } from 'vitest';
import { printable } from '../words/text.ts';
import { fit, Screen, widthOf, wrap } from './screen.ts';
import { style, withoutColours } from './style.ts';

const size = { columns: 20, rows: 3 };
/** Where to write, and in which colours. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const OURS = /\x1b\[(?:\d+;\d+H|0(?:;\d+)*m)/g;

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({
    unit: fc.constantFrom(
      '\x1b',
      '[',
      ']',
      '0;x',
      '\x07',
      '\x9b',
      '\x90',
      '2J',
      '\u202e',
      'é',
      '你',
      '\r\n',
      'a',
    ),
  }),
);

it('control sequences never come out of a screen, whatever is put in', () => {
  fc.assert(
    fc.property(text, fc.nat(2), fc.nat(19), (word, row, column) => {
      const screen = new Screen(size);
      screen.put(row, column, word, style.problem);
      screen.putRight(row, 10, word);
      screen.put(row, 0, fit(word, 7));
      for (const [index, line] of wrap(word, 15).entries()) screen.put(index, 0, line);
      const rest = screen.changes(undefined).replaceAll(OURS, '');
      expect(printable(rest)).toBe(rest);
    }),
  );
});

it('text that is cut fits, and says that it was cut', () => {
  fc.assert(
    fc.property(text, fc.integer({ min: 1, max: 12 }), (word, columns) => {
      expect(widthOf(fit(word, columns))).toBeLessThanOrEqual(columns);
    }),
  );
  expect(fit('sandbox', 5)).toBe('sand…');
  expect(fit('你好你好', 5)).toBe('你好…');
});

it('only what has changed is written', () => {
  const before = new Screen(size);
  before.put(0, 0, 'rate 1 KiB/s', style.good);
  const after = new Screen(size);
  after.put(0, 0, 'rate 2 KiB/s', style.good);
  expect(after.changes(before)).toBe('\x1b[1;6H\x1b[0;38;5;78m2\x1b[0m');
  expect(after.changes(after)).toBe('');
  expect(after.changes(new Screen({ columns: 21, rows: 3 }))).toContain('rate 2 KiB/s');
});

it('a wide glyph that gives way to narrow ones takes both its columns along', () => {
  const before = new Screen(size);
  before.put(0, 0, '你');
  const after = new Screen(size);
  after.put(0, 0, 'a');
  expect(after.changes(before)).toBe('\x1b[1;1H\x1b[0ma \x1b[0m');
});

it('without colours bold, italic and inverse stay', () => {
  expect(withoutColours('48;5;237;38;5;203;1')).toBe('1');
  expect(withoutColours('38;2;1;3;7;3;7')).toBe('3;7');
  expect(withoutColours('38;5;81')).toBe('');
});
