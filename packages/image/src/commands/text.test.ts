import { expect, test } from 'vitest';
import { bar, formatAge, formatBytes, formatGrowth, printable, table } from './text.ts';

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1024, '1.0 KiB'],
  [121_487_360, '115.9 MiB'],
  [5 * 1024 ** 4, '5120.0 GiB'],
])('%i bytes are %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text);
});

test('a growth has its sign', () => {
  expect([formatGrowth(-2048), formatGrowth(3)]).toEqual(['-2.0 KiB', '+3 B']);
});

test.each([
  [0, 'just now'],
  [-5000, 'just now'],
  [59 * 60_000, '59 min ago'],
  [47 * 3_600_000, '47 h ago'],
  [100 * 3_600_000, '4 days ago'],
])('%i ms ago is %s', (agoMs, text) => {
  expect(formatAge(1e12 - agoMs, 1e12)).toBe(text);
});

test('a bar is as long as its share, and never nothing for something', () => {
  expect(bar(50, 100, 10)).toBe('█████');
  expect(bar(100, 100, 3)).toBe('███');
  expect(bar(1, 1_000_000, 10)).toBe('▏');
  expect(bar(0, 100, 10)).toBe('');
  expect(bar(5, 0, 10)).toBe('');
});

test('a table lines its columns up and shows control characters instead of sending them', () => {
  expect(
    table(
      [
        ['a', '1', 'x'],
        ['bbb', '22', '\x1b[2Jy\nz'],
      ],
      [1],
    ),
  ).toEqual(['a     1  x', 'bbb  22  \\x1b[2Jy z']);
  expect(printable('two\nlines \x7f')).toBe('two\nlines \\x7f');
});
