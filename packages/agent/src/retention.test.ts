/** The budget that keeps a thousand unread processes from eating the guest. */
import { expect, test } from 'vitest';
import { KEPT_PER_OUTPUT_BYTES } from './limits.ts';
import { Retention, RetentionBudget } from './retention.ts';

const KiB = 1024;

test('an output has its own share whatever the others keep, and is woken when they let go', () => {
  const budget = new RetentionBudget(256 * KiB);
  const woken: string[] = [];
  const greedy = new Retention(budget, () => woken.push('greedy'));
  const late = new Retention(budget, () => woken.push('late'));
  expect(greedy.room(0)).toBe(KEPT_PER_OUTPUT_BYTES + 256 * KiB);
  greedy.update(KEPT_PER_OUTPUT_BYTES + 256 * KiB);
  expect(late.room(0)).toBe(KEPT_PER_OUTPUT_BYTES);
  late.update(KEPT_PER_OUTPUT_BYTES);
  expect(late.room(KEPT_PER_OUTPUT_BYTES)).toBe(0);
  greedy.update(KEPT_PER_OUTPUT_BYTES + 200 * KiB);
  expect(woken).toEqual([]);
  greedy.update(KEPT_PER_OUTPUT_BYTES + 100 * KiB);
  expect(woken).toEqual(['late']);
  expect(late.room(KEPT_PER_OUTPUT_BYTES)).toBe(156 * KiB);
});

test('what a removed process kept is given back, and it is not woken any more', () => {
  const budget = new RetentionBudget(64 * KiB);
  const woken: string[] = [];
  const [first, second] = [
    new Retention(budget, () => woken.push('first')),
    new Retention(budget, () => woken.push('second')),
  ];
  first.update(128 * KiB);
  expect(first.room(128 * KiB) + second.room(64 * KiB)).toBe(0);
  first.release();
  expect(woken).toEqual(['second']);
  expect(budget.left).toBe(64 * KiB);
});
