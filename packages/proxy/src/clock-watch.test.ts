import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ClockWatch } from './clock-watch.ts';

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

test('a jump of the wall clock is told once, in either direction, and nothing else is', () => {
  let jumps = 0;
  const watch = new ClockWatch(() => void jumps++);
  vi.advanceTimersByTime(60_000);
  expect(jumps).toBe(0);
  vi.setSystemTime(Date.now() + 3_600_000);
  vi.advanceTimersByTime(10_000);
  expect(jumps).toBe(1);
  vi.setSystemTime(Date.now() - 5_000);
  vi.advanceTimersByTime(10_000);
  expect(jumps).toBe(2);
  watch.close();
  vi.setSystemTime(Date.now() + 3_600_000);
  vi.advanceTimersByTime(10_000);
  expect(jumps).toBe(2);
});
