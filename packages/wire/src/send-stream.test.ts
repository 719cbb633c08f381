/** The sender's table of docs/protocol.md, section 3, row by row. The stories are in streams.model.test.ts. */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { beforeEach, describe, expect, it } from 'vitest';
import { FrameType, frameTypeName, readHeader } from './frame.ts';
import { HEADER_BYTES, MAX_PAYLOAD_BYTES, MAX_START_OFFSET } from './limits.ts';
import { SendStream } from './send-stream.ts';

const STDOUT = 6;

let said: string[];
let stream: SendStream;
function make(id = STDOUT, retentionBytes = 100): SendStream {
  const say = (word: string) => () => void said.push(word);
  return new SendStream(
    id,
    {
      ready: say('ready'),
      room: say('room'),
      stopped: say('stopped'),
      retransmitted: (bytes) => void said.push(`retransmitted ${bytes}`),
      stalled: say('stalled'),
    },
    { retentionBytes },
  );
}
beforeEach(() => {
  said = [];
  stream = make();
});

/** All that it sends now, as "DATA 0 abc" and "EOF 3". */
function pullAll(from = stream): string[] {
  const frames: string[] = [];
  for (let frame = from.pull(); frame !== undefined; frame = from.pull()) {
    const { type, offset, length, generation, id } = readHeader(frame, 0);
    expect([id, generation]).toEqual([from.id, from.generation]);
    const text = frame.toString('latin1', HEADER_BYTES, HEADER_BYTES + length);
    frames.push(`${frameTypeName(type)} ${offset}${type === FrameType.DATA ? ` ${text}` : ''}`);
    if (frames.length > 1000) throw new Error('it never ends');
  }
  return frames;
}
const push = (text: string) => stream.push(Buffer.from(text));

describe('open', () => {
  it('sends nothing before an attach, and all within the credit after', () => {
    push('abcdef');
    expect(pullAll()).toEqual([]);
    expect(stream.attach(0, 4, 1)).toBe(0);
    expect(pullAll()).toEqual(['DATA 0 abcd']);
    stream.window(0, 6);
    expect(pullAll()).toEqual(['DATA 4 ef']);
    expect([stream.base, stream.next, stream.end, stream.limit]).toEqual([0, 6, 6, 6]);
  });

  it('says when it has sent all that it may', () => {
    push('abcdef');
    stream.attach(0, 4, 1);
    said = [];
    pullAll();
    pullAll();
    stream.window(0, 5);
    pullAll();
    stream.window(0, 7);
    pullAll();
    expect(said).toEqual(['stalled', 'ready', 'stalled', 'ready']);
  });

  it('says how much of what it sends was sent before', () => {
    push('abcdef');
    stream.attach(0, 4, 1);
    pullAll();
    stream.attach(1, 100, 2);
    said = [];
    expect(pullAll()).toEqual(['DATA 1 bcdef']);
    expect(said).toEqual(['retransmitted 3']);
  });

  it('accepts while less than its retention is undelivered', () => {
    stream.attach(0, 1000, 1);
    stream.push(Buffer.alloc(100));
    expect(stream.room).toBe(0);
    pullAll();
    said = [];
    stream.window(30, 1030);
    expect(stream.room).toBe(30);
    expect(said).toContain('room');
  });

  it('sends no more than a frame takes', () => {
    stream = make(STDOUT, 100_000);
    stream.attach(0, 100_000, 1);
    stream.push(Buffer.alloc(MAX_PAYLOAD_BYTES + 1));
    expect(stream.pull()?.length).toBe(32_768);
    expect(stream.pull()?.length).toBe(29);
    expect(stream.pull()).toBe(undefined);
  });

  it('gives the same bytes again, however they were pushed', () => {
    stream = make(STDOUT, 1_000_000);
    const pieces = [1, 5000, 3, 40_000, 4095, 4096, 1, 1, 70_000, 2].map((length, i) =>
      Buffer.alloc(length, 65 + i),
    );
    const all = Buffer.concat(pieces);
    stream.attach(0, 1_000_000, 1);
    for (const piece of pieces) stream.push(piece);
    const join = (frames: string[]) => frames.map((frame) => frame.slice(frame.indexOf(' ', 5) + 1)).join('');
    expect(join(pullAll())).toBe(all.toString());
    stream.window(5002, 1_000_000);
    stream.attach(5002, 1_000_000, 2);
    expect(join(pullAll())).toBe(all.toString('latin1', 5002));
  });

  it('joins what comes byte by byte, before and after it was sent', () => {
    stream = make(STDOUT, 1_000_000);
    stream.attach(0, 1_000_000, 1);
    let seen = '';
    let expected = '';
    for (let i = 0; i < 70_000; i++) {
      const letter = String.fromCharCode(97 + (i % 26));
      push(letter);
      expected += letter;
      if (i % 977 === 0)
        seen += pullAll()
          .map((frame) => frame.split(' ')[2])
          .join('');
      if (i % 1777 === 0) stream.window(stream.next, 1_000_000);
    }
    seen += pullAll()
      .map((frame) => frame.split(' ')[2])
      .join('');
    expect(seen).toBe(expected);
  });

  it.each<[string, () => void]>([
    ['beyond what was sent', () => stream.window(7, 20)],
    ['back', () => stream.window(2, 20)],
    ['with less credit', () => stream.window(4, 5)],
  ])('refuses WINDOW %s', (_, act) => {
    stream.attach(0, 6, 1);
    push('abcdefgh');
    pullAll();
    stream.window(3, 6);
    expect(act).toThrow('protocol violation: WINDOW for stdout of process 1');
  });

  it('goes on where the receiver stands, and tells when an earlier one was further', () => {
    stream.attach(0, 100, 1);
    push('abcdef');
    pullAll();
    stream.window(2, 100);
    expect(stream.attach(4, 100, 2)).toBe(4);
    expect(stream.base).toBe(4);
    expect(pullAll()).toEqual(['DATA 4 ef']);
    expect(stream.attach(0, 100, 3)).toBe(4);
    expect(pullAll()).toEqual(['DATA 4 ef']);
  });

  it('refuses to go on at bytes that were never sent', () => {
    stream.attach(0, 3, 1);
    push('abcdef');
    pullAll();
    expect(() => stream.attach(4, 100, 2)).toThrow('only 3 bytes were sent [out_of_range]');
  });

  /** The receiver had 0 to 6 and delivers them while they are to be sent again. */
  it('skips bytes that are delivered before they are sent again', () => {
    stream.attach(0, 100, 1);
    push('abcdef');
    pullAll();
    stream.attach(0, 100, 2);
    stream.window(4, 104);
    expect(pullAll()).toEqual(['DATA 4 ef']);
  });

  it('says room when an attach frees bytes whose WINDOW was lost', () => {
    stream.attach(0, 1000, 1);
    stream.push(Buffer.alloc(100));
    pullAll();
    said = [];
    stream.attach(100, 1100, 2);
    expect(said).toEqual(['ready', 'room']);
  });

  it('keeps still while it is detached', () => {
    stream.attach(0, 100, 1);
    stream.detach();
    said = [];
    push('abc');
    stream.finish();
    expect([pullAll(), said]).toEqual([[], []]);
  });
});

describe('ended', () => {
  it('sends the rest, then EOF once, and again after an attach', () => {
    stream.attach(0, 2, 1);
    push('abc');
    stream.finish();
    stream.finish();
    expect(pullAll()).toEqual(['DATA 0 ab']);
    stream.window(2, 4);
    expect(pullAll()).toEqual(['DATA 2 c', 'EOF 3']);
    expect(pullAll()).toEqual([]);
    expect(stream.done).toBe(false);
    stream.attach(2, 10, 2);
    expect(pullAll()).toEqual(['DATA 2 c', 'EOF 3']);
  });

  it('is done when everything was delivered; EOF again on attach', () => {
    stream.attach(0, 10, 1);
    push('abc');
    stream.finish();
    pullAll();
    stream.window(3, 13);
    expect(stream.done).toBe(true);
    expect(stream.attach(3, 13, 2)).toBe(3);
    expect(pullAll()).toEqual(['EOF 3']);
  });

  it('takes no more bytes', () => {
    stream.finish();
    expect(() => push('a')).toThrow('bytes after the end of stdout of process 1');
  });
});

describe('stopped', () => {
  beforeEach(() => {
    stream.attach(0, 3, 1);
    push('abcdef');
    pullAll();
    said = [];
    stream.stop();
  });

  it('drops what it has and ends where it stands', () => {
    expect(said).toEqual(['stopped', 'room', 'ready']);
    expect([stream.final, stream.done, stream.base]).toEqual([6, true, 6]);
    expect(pullAll()).toEqual(['EOF 6']);
  });

  it('drops what still comes, without limit, and counts it no more', () => {
    expect(stream.room).toBe(Number.MAX_SAFE_INTEGER);
    push('ghi');
    stream.finish();
    expect([stream.final, stream.end]).toEqual([6, 6]);
  });

  it('ignores WINDOW and a second STOP', () => {
    stream.window(1, 2);
    said = [];
    stream.stop();
    expect(said).toEqual([]);
  });

  it('answers an attach with EOF at the end', () => {
    expect(stream.attach(3, 10, 2)).toBe(6);
    expect(pullAll()).toEqual(['EOF 6']);
  });

  it('attaches itself wherever the receiver stands', () => {
    stream.resume(2, 10, 2);
    expect(pullAll()).toEqual(['EOF 6']);
  });
});

describe('a sender that attaches itself', () => {
  it('lets go of what the receiver holds, and then takes WINDOW for it', () => {
    stream.resume(0, 100, 1);
    push('abcdef');
    pullAll();
    said = [];
    stream.resume(4, 100, 2);
    expect(said).toEqual(['ready', 'room']);
    expect(stream.base).toBe(4);
    expect(pullAll()).toEqual(['DATA 4 ef']);
    stream.window(2, 102);
    stream.window(5, 105);
    expect(stream.base).toBe(5);
  });

  it('begins behind what others have sent, with all that was pushed before', () => {
    push('abc');
    stream.finish();
    stream.resume(1000, 2000, 1);
    expect(pullAll()).toEqual(['DATA 1000 abc', 'EOF 1003']);
  });

  it('goes on behind others when nothing of its own is under way', () => {
    stream.resume(0, 100, 1);
    push('abc');
    pullAll();
    stream.window(3, 103);
    push('def');
    stream.resume(50, 150, 2);
    expect(pullAll()).toEqual(['DATA 50 def']);
  });

  it.each([
    ['that were let go', 1],
    ['of another sender', 7],
  ])('fails when the receiver expects bytes %s', (_, next) => {
    stream.resume(0, 100, 1);
    push('abcdef');
    pullAll();
    stream.window(2, 102);
    expect(() => stream.resume(next, 200, 2)).toThrow(/expects offset \d.*\[data_loss\]/);
  });

  it('refuses offsets whose sums would not be exact', () => {
    expect(() => stream.resume(MAX_START_OFFSET + 1, 2 ** 53 - 1, 1)).toThrow('protocol violation');
    stream.resume(MAX_START_OFFSET, 2 ** 53 - 1, 1);
    push('abc');
    expect(pullAll()).toEqual([`DATA ${MAX_START_OFFSET} abc`]);
  });
});

describe('a control stream', () => {
  it('is urgent and sends whole records only', () => {
    stream = make(12, 1024);
    expect(stream.urgent).toBe(true);
    stream.resume(0, 12, 1);
    stream.push(Buffer.alloc(16, 65));
    expect(pullAll()).toEqual(['DATA 0 AAAAAAAA']);
    stream.window(8, 15);
    expect(pullAll()).toEqual([]);
    stream.window(8, 16);
    expect(pullAll()).toEqual(['DATA 8 AAAAAAAA']);
  });
});

/** 4,096 execs of a container are remembered; each that had printed a word held 32 KiB, and a guest's agent 128 MiB. */
describe('the memory of many small streams', () => {
  const COUNT = 4096;
  const collect = (): void => {
    setFlagsFromString('--expose-gc');
    (runInNewContext('gc') as () => void)();
  };
  const heldBy = (make: (n: number) => SendStream): number => {
    collect();
    const before = process.memoryUsage().arrayBuffers;
    const streams = Array.from({ length: COUNT }, (_, n) => make(n));
    collect();
    const held = process.memoryUsage().arrayBuffers - before;
    expect(streams).toHaveLength(COUNT);
    return held / COUNT;
  };
  const quiet = { ready() {}, room() {}, stopped() {} };
  const written = (): SendStream => {
    const small = new SendStream(6, quiet, { retentionBytes: 1000 });
    small.push(Buffer.from('hello\n'));
    return small;
  };

  it('is about their bytes while nobody reads them', () => {
    expect(heldBy(written)).toBeLessThan(4096);
  });

  it('is nothing once they are done, whichever comes last: the end or the delivery', () => {
    const done = (n: number): SendStream => {
      const small = written();
      small.attach(0, 100, 1);
      small.pull();
      if (n % 2 === 0) small.finish();
      small.window(6, 100);
      small.finish();
      expect(small.done).toBe(true);
      return small;
    };
    // V8 frees memory beside us: some of it may be on its way.
    expect(heldBy(done)).toBeLessThan(1024);
  });
});
