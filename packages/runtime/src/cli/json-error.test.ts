import { expect, test } from 'vitest';
import { jsonError } from './json-error.ts';

function errorOf(text: string): string {
  try {
    JSON.parse(text);
  } catch (error) {
    return jsonError(text, error as SyntaxError);
  }
  throw new Error('it is JSON');
}

test.each([
  ['', /^line 1, column 1: Unexpected end/],
  ['{\n  "a": [1,\n}', /^line 3, column 1: Unexpected token '}'$/],
  ['{"a": 1 "b": 2}', /^line 1, column 9: Expected ','/],
  ['{\n"a": "b\n"}', /^line 2, column 8: Bad control character/],
  ['{"a": 1', /^line 1, column 8: Expected ','/],
  ['{"a": "x', /^line 1, column 9: Unterminated string/],
  ['nope', /^line 1, column 2: Unexpected token 'o'$/],
  [`{"long": "${'x'.repeat(100)}", "b": ?}`, /^line 1, column 119: Unexpected token '\?'$/],
])('%j', (text, message) => {
  expect(errorOf(text)).toMatch(message);
});
