/** The last frames, oldest first, also when the ring has gone round. */
import { Direction, type Frame, FrameType } from '@coracle/wire';
import { expect, test } from 'vitest';
import { RECENT_FRAMES } from './limits.ts';
import { RecentFrames } from './recent-frames.ts';

const frame = (offset: number): Frame => {
  const payload = Buffer.alloc(3);
  return { type: FrameType.DATA, flags: 0, id: 6, generation: 2, offset, payload, encoded: payload };
};

test('of many frames the last ones are kept, in order', () => {
  const recent = new RecentFrames();
  expect(recent.list()).toEqual([]);
  for (let number = 0; number < RECENT_FRAMES + 5; number++)
    recent.add(Direction.toClient, 1, frame(number), 6);
  const offsets = recent.list().map(({ offset }) => offset);
  expect(offsets).toEqual(Array.from({ length: RECENT_FRAMES }, (_, index) => index + 5));
  expect(recent.list()[0]).toEqual({
    agoMs: expect.any(Number),
    direction: 'to_client',
    client: 1,
    type: 'DATA',
    flags: 0,
    id: 6,
    generation: 2,
    offset: 5,
    length: 3,
  });
});
