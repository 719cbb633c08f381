import type { BootStage, GetAgentDetailsResponse } from '@coracle/wire';
import { expect, test } from 'vitest';
import { foldSmallParts, median, type PhaseSummary, phasesOf, summarise } from './phases.ts';

const stages: BootStage[] = [
  { name: 'node', beganMs: 350, tookMs: 400 },
  { name: 'agent', beganMs: 750, tookMs: 0 },
  { name: 'cgroup controllers', beganMs: 760, tookMs: 20 },
  { name: 'link', beganMs: 900, tookMs: 0 },
  { name: 'ready', beganMs: 950, tookMs: 0 },
];
const details = { bootStages: stages, uptimeMs: 1000 } as GetAgentDetailsResponse;
const times = { firmwareMs: 60, agentMs: 965, helloMs: 1160, answerMs: 1230, details };

test('host and guest clocks are joined at what is known last', () => {
  // Not before 200 by the hello, not before 230 by the answer: the kernel's zero is at 210.
  const took = phasesOf(times, false).map(({ name, tookMs }) => [name, tookMs]);
  expect(took).toEqual([
    ['QEMU, until the firmware speaks', 60],
    ['firmware, kernel before its clock', 150],
    ['kernel, to Node', 350],
    ["Node, to the agent's main", 400],
    ["agent's steps", 150],
    ['cgroup controllers', 20],
    ['link, to the hello', 50],
  ]);
});

test('a guest whose clock runs at double speed took half of what it says', () => {
  const doubled = stages.map(({ name, beganMs, tookMs }) => ({
    name,
    beganMs: 2 * beganMs,
    tookMs: 2 * tookMs,
  }));
  const fast = { ...times, agentMs: 960, details: { ...details, bootStages: doubled, uptimeMs: 2000 } };
  expect(phasesOf(fast, false)).toEqual(phasesOf(times, false));
});

test('an agent that tells nothing leaves the whole to the kernel', () => {
  const silent = { ...times, details: { ...details, bootStages: [] } };
  const took = phasesOf(silent, false).map(({ tookMs }) => tookMs);
  expect(took.reduce((sum, ms) => sum + ms, 0)).toBe(1160);
});

test('medians follow one upon the other, parts within their phase', () => {
  const phase = (name: string, tookMs: number, part = false) => ({ name, beganMs: 0, tookMs, part });
  const summary = summarise([
    [phase('a', 10), phase('b', 30), phase('b1', 5, true), phase('c', 1)],
    [phase('a', 20), phase('b', 40), phase('c', 2)],
    [phase('a', 12), phase('b', 35), phase('b1', 7, true), phase('b2', 3, true), phase('c', 9)],
  ]);
  expect(summary).toEqual([
    { name: 'a', part: false, beganMs: 0, medianMs: 12, minMs: 10, maxMs: 20 },
    { name: 'b', part: false, beganMs: 12, medianMs: 35, minMs: 30, maxMs: 40 },
    { name: 'b1', part: true, beganMs: 12, medianMs: 5, minMs: 0, maxMs: 7 },
    { name: 'b2', part: true, beganMs: 17, medianMs: 0, minMs: 0, maxMs: 3 },
    { name: 'c', part: false, beganMs: 47, medianMs: 2, minMs: 1, maxMs: 9 },
  ]);
});

test('parts too small to be seen become one', () => {
  const row = (name: string, medianMs: number, part: boolean): PhaseSummary => ({
    ...{ name, part, beganMs: 0, medianMs, minMs: medianMs, maxMs: medianMs },
  });
  const folded = foldSmallParts([
    row('whole', 1000, false),
    row('x', 2, true),
    row('big', 50, true),
    row('y', 3, true),
    row('next', 100, false),
  ]);
  expect(folded.map(({ name, medianMs }) => [name, medianMs])).toEqual([
    ['whole', 1000],
    ['big', 50],
    ['2 others', 5],
    ['next', 100],
  ]);
});

test('the median of an even number of samples lies between', () => {
  expect(median([4, 1, 3, 2])).toBe(2.5);
});
