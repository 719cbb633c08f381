import { expect, test } from 'vitest';
import { GATHER_MS, Gather } from './gather.ts';

test('lines that follow each other closely gather after the fourth', () => {
  const gather = new Gather();
  const pauses = [0, 1, 2, 3, 4, 5].map((ms) => gather.onRead(20, ms));
  expect(pauses).toEqual([false, false, false, false, true, true]);
  // Each read after a pause is still close to the one before.
  expect(gather.onRead(20, 6 + GATHER_MS)).toBe(true);
});

test('lines far apart and large blocks do not wait', () => {
  const gather = new Gather();
  for (let i = 0; i < 20; i++) expect(gather.onRead(20, i * 20)).toBe(false);
  for (let i = 0; i < 20; i++) expect(gather.onRead(4096, 400 + i)).toBe(false);
});

test('answers do not wait: each question of a fast dialogue took 4 ms from the fifth on', () => {
  const gather = new Gather();
  for (let i = 0; i < 20; i++) {
    gather.onInput();
    expect(gather.onRead(20, i / 2)).toBe(false);
  }
});
