import { expect, test } from 'vitest';
import { BootTimeline } from './boot-timeline.ts';

test('keeps what took longer than a millisecond, and moments', () => {
  const timeline = new BootTimeline(500, 120);
  timeline.step('mount /proc', 500, 500.4);
  timeline.step('cgroup controllers', 501, 509);
  timeline.moment('link');
  expect(timeline.stages()).toMatchObject([
    { name: 'node', beganMs: 380, tookMs: 120 },
    { name: 'agent', beganMs: 500, tookMs: 0 },
    { name: 'cgroup controllers', beganMs: 501, tookMs: 8 },
    { name: 'link', tookMs: 0 },
  ]);
});
