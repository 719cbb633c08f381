import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { interpreter, isElf, neededLibraries } from './elf.ts';

// The Node that runs this test is the program that goes into the image.
const node = readFileSync(process.execPath);

test('reads the libraries and the interpreter of a real program', () => {
  expect(neededLibraries(node)).toEqual(expect.arrayContaining(['libstdc++.so.6', 'libm.so.6', 'libc.so.6']));
  expect(interpreter(node)).toBe('/lib64/ld-linux-x86-64.so.2');
});

test('tells programs from other files', () => {
  expect(isElf(node)).toBe(true);
  expect(isElf(Buffer.from('#!/bin/sh\n'))).toBe(false);
  expect(() => neededLibraries(Buffer.from('\x7fELF\x01\x01'))).toThrow('not a 64-bit');
});
