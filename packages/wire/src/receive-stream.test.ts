/** The receiver's rules of docs/protocol.md, section 3, one by one. */
import { beforeEach, describe, expect, it } from 'vitest';
import { FrameType, readHeader } from './frame.ts';
import { HEADER_BYTES } from './limits.ts';
import { decodeWindow } from './payloads.ts';
import { ReceiveStream } from './receive-stream.ts';

let stream: ReceiveStream;
beforeEach(() => {
  stream = new ReceiveStream(6, 100);
  stream.attach(7);
});

const data = (offset: number, text: string): string => stream.data(offset, Buffer.from(text)).toString();

function windowOf(frame: Buffer | undefined): { delivered: number; limit: number } | undefined {
  if (frame === undefined) return undefined;
  const { type, id, generation, offset } = readHeader(frame, 0);
  expect([type, id, generation]).toEqual([FrameType.WINDOW, 6, 7]);
  return { delivered: offset, limit: decodeWindow(frame.subarray(HEADER_BYTES, HEADER_BYTES + 8)) };
}

describe('DATA', () => {
  it('is taken where it is expected, and its known part skipped', () => {
    expect(data(0, 'abc')).toBe('abc');
    expect(data(1, 'bcde')).toBe('de');
    expect(data(0, 'abcde')).toBe('');
    expect(stream.expected).toBe(5);
  });

  it.each<[string, () => unknown]>([
    ['leaves a gap', () => data(4, 'x')],
    ['goes beyond the credit', () => data(3, 'x'.repeat(98))],
    ['goes beyond the end', () => [stream.end(4), data(3, 'xy')]],
    ['ends above all offsets', () => stream.data(2 ** 53 - 1, Buffer.alloc(2))],
  ])('that %s breaks the rules', (_, act) => {
    data(0, 'abc');
    expect(act).toThrow('protocol violation');
  });

  it('fills the window to the last byte', () => {
    expect(data(0, 'x'.repeat(100)).length).toBe(100);
    expect(stream.held).toBe(100);
  });
});

describe('WINDOW', () => {
  it('is sent when a quarter is delivered since the last', () => {
    data(0, 'x'.repeat(100));
    expect(stream.deliver(24)).toBe(undefined);
    expect(windowOf(stream.deliver(1))).toEqual({ delivered: 25, limit: 125 });
    expect(stream.deliver(24)).toBe(undefined);
    expect(windowOf(stream.deliver(51))).toEqual({ delivered: 100, limit: 200 });
  });

  it('is sent at the end, whichever comes last: the end or the delivery', () => {
    data(0, 'abc');
    expect(stream.end(3)).toBe(undefined);
    expect(windowOf(stream.deliver(3))).toEqual({ delivered: 3, limit: 103 });
    expect(stream.complete).toBe(true);

    stream = new ReceiveStream(6, 100);
    stream.attach(7);
    data(0, 'abc');
    stream.deliver(3);
    expect(windowOf(stream.end(3))).toEqual({ delivered: 3, limit: 103 });
    expect(stream.end(3)).toBe(undefined);
  });

  it('never counts more than was received', () => {
    data(0, 'abc');
    stream.deliver(10);
    expect(stream.delivered).toBe(3);
  });
});

describe('the end', () => {
  it('may come more than once, before the last DATA, and always the same', () => {
    stream.end(3);
    expect(data(0, 'abc')).toBe('abc');
    stream.end(3);
    expect(() => stream.end(4)).toThrow('moves from 3 to 4');
  });

  it('cannot lie before what was received', () => {
    data(0, 'abc');
    expect(() => stream.end(2)).toThrow('ends at 2, received were 3');
  });
});

describe('STOP', () => {
  it('is for the present attachment, and what is in flight is discarded', () => {
    data(0, 'abc');
    const { type, generation } = readHeader(stream.stop(), 0);
    expect([type, generation]).toEqual([FrameType.STOP, 7]);
    expect(data(3, 'def')).toBe('');
    expect([stream.expected, stream.delivered]).toEqual([6, 6]);
    expect(() => data(6, 'x'.repeat(95))).toThrow('with credit to 100');
  });

  it('leaves nothing to deliver: a write that ends later does not count twice', () => {
    data(0, 'abc');
    stream.stop();
    expect(stream.deliver(3)).toBe(undefined);
    expect(stream.attach(8)).toEqual({ delivered: 3, limit: 103 });
  });

  it('completes with any end', () => {
    data(0, 'abc');
    stream.stop();
    expect(stream.complete).toBe(false);
    stream.end(2);
    stream.end(9);
    expect(stream.complete).toBe(true);
  });
});

describe('attaching', () => {
  it('says what was delivered and grants a window from there', () => {
    data(0, 'x'.repeat(50));
    stream.deliver(10);
    expect(stream.attach(8)).toEqual({ delivered: 10, limit: 110 });
  });

  it('answers with what is expected, since it keeps what it holds', () => {
    data(0, 'x'.repeat(50));
    stream.deliver(10);
    expect(stream.answerAttach(8)).toEqual({ delivered: 50, limit: 110 });
  });

  it('takes a start up to which an earlier owner has delivered', () => {
    stream.startAt(40);
    expect([stream.expected, stream.delivered]).toEqual([40, 40]);
  });

  /** The answer is under way while the reader goes on with what is held. */
  it('may deliver more before the answer comes', () => {
    data(0, 'x'.repeat(50));
    stream.attach(7);
    const window = windowOf(stream.deliver(30));
    expect(window).toEqual({ delivered: 30, limit: 130 });
    stream.startAt(0);
    expect([stream.expected, stream.delivered]).toEqual([50, 30]);
  });

  it('refuses a start behind what it said, or beyond all reason', () => {
    data(0, 'abcdef');
    stream.deliver(6);
    stream.attach(7);
    expect(() => stream.startAt(5)).toThrow('starts at 5, behind 6');
    expect(() => stream.startAt(2 ** 53 - 1)).toThrow('protocol violation');
  });

  it('forgets an end whose bytes were lost with the connection', () => {
    stream.end(9);
    data(0, 'abc');
    stream.answerAttach(8);
    expect(stream.final).toBe(undefined);
  });

  /** An output that another owner had in between, and stopped: where it was to end it will never come to. */
  it('takes another end than before, when it had not come to the first', () => {
    data(0, 'abc');
    stream.end(9);
    expect(() => stream.end(6)).toThrow('moves from 9 to 6');
    stream.attach(7);
    expect(stream.complete).toBe(false);
    stream.end(6);
    expect(data(3, 'def')).toBe('def');
    stream.deliver(6);
    expect(stream.complete).toBe(true);
  });

  it('keeps an end that it has reached: others can write no more, and do no harm', () => {
    data(0, 'abc');
    stream.end(3);
    expect(stream.sealed).toBe(false);
    expect(stream.answerAttach(8)).toEqual({ delivered: 3, limit: 100 });
    expect(stream.sealed).toBe(true);
    expect(data(3, 'of another')).toBe('');
    stream.end(13);
    expect([stream.final, stream.expected]).toEqual([3, 3]);
    stream.deliver(3);
    expect(stream.complete).toBe(true);
  });
});
