import { expect, test } from 'vitest';
import { parseJson } from './json.ts';

test('whole numbers that JavaScript has no room for come out as they went in', () => {
  const text =
    '{"rlimits":[{"hard":18446744073709551615,"soft":1024}],"limit":-1,"shares":0.5,"big":-9223372036854775808}';
  expect(JSON.stringify(parseJson(text))).toBe(text);
});

test('everything else is what JSON.parse gives', () => {
  const text = '{"a":[1,2.5,"x",null,true],"b":{"c":9007199254740991}}';
  expect(parseJson(text)).toEqual(JSON.parse(text));
  expect(() => parseJson('{')).toThrow(SyntaxError);
});
