import { expect, test } from 'vitest';
import { lineOfKey } from './toml-lines.ts';

const text = `# comment
name = "x"
kernel.package = "k"

[node] # the guest's
"a key" = 1
flags = [
  "--x",
]

[[packages]]
name = "a"

[[packages]]
name = "b"
`;

test.each([
  [['name'], 2],
  [['kernel', 'package'], 3],
  [['node'], 5],
  [['node', 'a key'], 6],
  [['node', 'flags', 0], 7],
  [['node', 'absent'], 5],
  [['packages'], 11],
  [['packages', 0, 'name'], 12],
  [['packages', 1], 14],
  [['packages', 1, 'name'], 15],
  [['absent'], 1],
])('%j stands on line %i', (path, line) => {
  expect(lineOfKey(text, path)).toBe(line);
});

test.each(['"""', "'''"])('lines of a string in %s are no keys', (quotes) => {
  const hooks = [
    '[[hooks]]',
    'name = "a" # """',
    `text = ${quotes}#!/bin/sh`,
    'name=1',
    '[[hooks]]',
    `${quotes} # the end`,
    '[[hooks]]',
    `text = ${quotes}one line${quotes}`,
    'name = "b"',
  ].join('\n');
  expect(lineOfKey(hooks, ['hooks', 0, 'name'])).toBe(2);
  expect(lineOfKey(hooks, ['hooks', 1])).toBe(7);
  expect(lineOfKey(hooks, ['hooks', 1, 'name'])).toBe(9);
});
