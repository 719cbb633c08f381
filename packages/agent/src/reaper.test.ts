import type { Reaped } from '@coracle/sys';
import { expect, test } from 'vitest';
import { Reaper } from './reaper.ts';

function scripted(): { reaper: Reaper; ended(...reaped: Reaped[]): void } {
  let next: Reaped[] = [];
  const reaper = new Reaper(() => next.splice(0));
  return {
    reaper,
    ended: (...reaped) => {
      next = reaped;
      reaper.reapAll();
    },
  };
}

test('tells each watcher its status once', () => {
  const { reaper, ended } = scripted();
  const seen: string[] = [];
  reaper.watch(5, (status) => seen.push(`5:${status}`));
  reaper.watch(6, (status) => seen.push(`6:${status}`));
  ended({ pid: 6, status: 256 }, { pid: 7, status: 0 }, { pid: 5, status: 9 });
  ended({ pid: 5, status: 1 });
  expect(seen).toEqual(['6:256', '5:9']);
});

test('keeps the status of a process that was quicker than the news of its pid', () => {
  const { reaper, ended } = scripted();
  const hold = reaper.holdUnknown();
  ended({ pid: 8, status: 512 });
  const seen: number[] = [];
  reaper.watch(8, (status) => seen.push(status));
  hold[Symbol.dispose]();
  expect(seen).toEqual([512]);
});

test('forgets orphans, whose pid may be given again, when no start is under way', () => {
  const { reaper, ended } = scripted();
  const first = reaper.holdUnknown();
  const second = reaper.holdUnknown();
  ended({ pid: 9, status: 0 });
  first[Symbol.dispose]();
  second[Symbol.dispose]();
  const seen: number[] = [];
  reaper.watch(9, (status) => seen.push(status));
  expect(seen).toEqual([]);
  ended({ pid: 9, status: 3 });
  expect(seen).toEqual([3]);
});

test('forgets orphans from before the oldest start, where starts overlap without end', () => {
  const { reaper, ended } = scripted();
  const first = reaper.holdUnknown();
  ended({ pid: 9, status: 0 });
  const second = reaper.holdUnknown();
  ended({ pid: 10, status: 1 });
  first[Symbol.dispose]();
  const seen: string[] = [];
  reaper.watch(9, (status) => seen.push(`9:${status}`));
  reaper.watch(10, (status) => seen.push(`10:${status}`));
  expect(seen).toEqual(['10:1']);
  second[Symbol.dispose]();
});
