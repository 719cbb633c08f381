import { expect, test } from 'vitest';
import { BootTimeline, parseRecord } from './boot-timeline.ts';

test('keeps what took longer than a millisecond, and moments', () => {
  const timeline = new BootTimeline(500, 120, () => ({ name: 'init', beganMs: 300, tookMs: 0 }));
  timeline.step('mount /proc', 500, 500.4);
  timeline.step('cgroup controllers', 501, 509);
  timeline.moment('link');
  timeline.stages();
  expect(timeline.stages()).toMatchObject([
    { name: 'init', beganMs: 300, tookMs: 0 },
    { name: 'node', beganMs: 380, tookMs: 120 },
    { name: 'agent', beganMs: 500, tookMs: 0 },
    { name: 'cgroup controllers', beganMs: 501, tookMs: 8 },
    { name: 'link', tookMs: 0 },
  ]);
});

test("reads the kernel's records", () => {
  const record = '6,212,403187,-;Run /opt/coracle/init as init process\n SUBSYSTEM=none\n';
  expect(parseRecord(record)).toEqual({
    milliseconds: 403.187,
    text: 'Run /opt/coracle/init as init process',
  });
  expect(parseRecord('')).toEqual({ milliseconds: 0, text: '' });
});
