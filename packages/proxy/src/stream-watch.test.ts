/** What is counted as sent again, as standing still, and as a round trip. */
import { encodeAttach, encodeWindow, type Frame, FrameType } from '@coracle/wire';
import { expect, test } from 'vitest';
import { Counters, Distribution } from './counters.ts';
import { MAX_WATCHED_PROCESSES } from './limits.ts';
import { parseMetricsAddress } from './metrics-port.ts';
import { StreamWatch } from './stream-watch.ts';

const counters = new Counters();
const watch = new StreamWatch(counters);

const frame = (type: FrameType, id: number, offset = 0, payload: Buffer = Buffer.alloc(0)): Frame => ({
  type,
  flags: 0,
  id,
  generation: 1,
  offset,
  payload,
  encoded: payload,
});
const credit = (limit: number) => ({ delivered: 0, limit });
const attach = (limit: number): Frame =>
  frame(
    FrameType.ATTACH,
    4,
    0,
    encodeAttach({ token: Buffer.alloc(16), stdout: credit(limit), stderr: credit(9) }),
  );

test('a stream that has sent all it may stands still until it may go on', () => {
  watch.take(attach(100));
  watch.take(frame(FrameType.DATA, 6, 0, Buffer.alloc(60)));
  expect(watch.stalled(counters.toClient).streams).toBe(0);
  watch.take(frame(FrameType.DATA, 6, 60, Buffer.alloc(40)));
  expect(watch.stalled(counters.toClient).streams).toBe(1);
  expect(watch.stalled(counters.toAgent).streams).toBe(0);
  watch.take(frame(FrameType.WINDOW, 6, 60, encodeWindow(160)));
  expect(watch.stalled(counters.toClient).streams).toBe(0);
  expect([counters.toClient.stalls, counters.toAgent.stalls]).toEqual([1, 0]);
  expect(counters.toClient.stalledSeconds).toBeGreaterThan(0);
  // The first 60 bytes were followed, and are there.
  expect([counters.toClient.delivery.count, counters.toAgent.delivery.count]).toEqual([1, 0]);
});

test('bytes that cross again after a new attachment are counted, new ones behind them are not', () => {
  watch.take(attach(300));
  watch.take(frame(FrameType.DATA, 6, 80, Buffer.alloc(50)));
  expect([counters.attachments, counters.reattachments]).toEqual([2, 1]);
  expect([counters.toClient.retransmittedFrames, counters.toClient.retransmittedBytes]).toEqual([1, 20]);
});

test('what stood still when its link ended does not stand still any more', () => {
  watch.take(frame(FrameType.DATA, 7, 0, Buffer.alloc(9)));
  expect(watch.stalled(counters.toClient).streams).toBe(1);
  watch.close();
  expect(watch.stalled(counters.toClient)).toEqual({ streams: 0, seconds: 0 });
});

test('of many processes the oldest are forgotten', () => {
  for (let process = 1; process <= MAX_WATCHED_PROCESSES + 1; process++)
    watch.take(frame(FrameType.DATA, 4 * process + 2, 0, Buffer.alloc(1)));
  const before = counters.toClient.retransmittedFrames;
  watch.take(frame(FrameType.DATA, 4 * 2 + 2, 0, Buffer.alloc(1)));
  watch.take(frame(FrameType.DATA, 4 + 2, 0, Buffer.alloc(1)));
  expect(counters.toClient.retransmittedFrames).toBe(before + 1);
});

test('a distribution counts a value at its bound as within it', () => {
  const distribution = new Distribution([1, 2]);
  for (const value of [0.5, 1, 1.5, 7]) distribution.add(value);
  expect([[...distribution.counts], distribution.sum, distribution.count]).toEqual([[2, 1, 1], 10, 4]);
});

test('an address without a host is this host alone', () => {
  expect(parseMetricsAddress('9464')).toEqual({ host: '127.0.0.1', port: 9464 });
  expect(parseMetricsAddress('0.0.0.0:9464')).toEqual({ host: '0.0.0.0', port: 9464 });
  expect(parseMetricsAddress('[::1]:0')).toEqual({ host: '::1', port: 0 });
  for (const text of ['', 'x', '70000', ':9464', '::1:9464', '1 2:3'])
    expect(parseMetricsAddress(text)).toBeUndefined();
});
