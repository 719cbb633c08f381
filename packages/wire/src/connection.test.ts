/** Two connections over a pair of in-memory duplexes, and one against bytes written by hand. */
import { type Duplex, duplexPair } from 'node:stream';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { Connection, type ConnectionOptions } from './connection.ts';
import { RpcError } from './errors.ts';
import { encodeFrame, type Frame, FrameType } from './frame.ts';
import { encodeFailure } from './payloads.ts';
import { FLUSH, type Preamble, Role } from './preamble.ts';
import { preamble } from './testing/arbitraries.ts';

interface End {
  readonly connection: Connection;
  readonly opened: Preamble[];
  readonly frames: Frame[];
  readonly closed: RpcError[];
}

const transports: Duplex[] = [];
afterEach(() => {
  for (const transport of transports.splice(0)) transport.destroy();
});

function pair(): [Duplex, Duplex] {
  const [a, b] = duplexPair();
  transports.push(a, b);
  return [a, b];
}

function end(transport: Duplex, options: Partial<ConnectionOptions> & { opener: boolean }): End {
  const opened: Preamble[] = [];
  const frames: Frame[] = [];
  const closed: RpcError[] = [];
  const connection = new Connection(
    transport,
    { role: options.opener ? Role.proxy : Role.agent, ...options },
    {
      open: (peer) => opened.push(peer),
      frame: (frame) => frames.push(frame),
      closed: (error) => closed.push(error),
    },
  );
  return { connection, opened, frames, closed };
}

const until = (check: () => void) => vi.waitFor(check, { timeout: 5000, interval: 1 });

describe('two connections', () => {
  it.each([[false], [true]])('greet and exchange frames (flush: %s)', async (flush) => {
    const [a, b] = pair();
    const opener = end(a, { opener: true, flush });
    const answerer = end(b, { opener: false });
    await until(() => expect(opener.opened.length + answerer.opened.length).toBe(2));
    expect(opener.opened[0]?.role).toBe(Role.agent);
    expect(opener.opened[0]?.echo).toEqual(answerer.opened[0]?.epoch);
    opener.connection.send({ type: FrameType.STOP, id: 5 });
    answerer.connection.send({ type: FrameType.DETACHED, id: 4 });
    await until(() => {
      expect(opener.frames.map((frame) => frame.type)).toEqual([FrameType.DETACHED]);
      expect(answerer.frames.map((frame) => frame.type)).toEqual([FrameType.STOP]);
    });
  });

  it('send nothing before they are open', async () => {
    const [a, b] = pair();
    const opener = end(a, { opener: true });
    opener.connection.send({ type: FrameType.STOP, id: 5 });
    const answerer = end(b, { opener: false });
    await until(() => expect(opener.opened.length).toBe(1));
    opener.connection.send({ type: FrameType.STOP, id: 6 });
    await until(() => expect(answerer.frames.map((frame) => frame.id)).toEqual([6]));
  });

  it('say why they close, and the peer hears it', async () => {
    const [a, b] = pair();
    const opener = end(a, { opener: true });
    const answerer = end(b, { opener: false });
    await until(() => expect(opener.opened.length).toBe(1));
    opener.connection.close(new RpcError('aborted', 'come again'));
    await until(() =>
      expect(answerer.closed.map((error) => error.message)).toEqual(['come again [aborted]']),
    );
    expect(opener.closed.map((error) => error.code)).toEqual(['aborted']);
    expect([opener.connection.isOpen, answerer.connection.isOpen]).toEqual([false, false]);
    expect(a.writableEnded && b.writableEnded).toBe(true);
  });

  it('end when a rule is broken, with the rule in GOAWAY', async () => {
    const [a, b] = pair();
    const opener = end(a, { opener: true });
    const answerer = end(b, { opener: false });
    await until(() => expect(opener.opened.length).toBe(1));
    const broken = encodeFrame({ type: FrameType.STOP, id: 5 });
    broken[4] = 0x7f;
    opener.connection.sendEncoded(broken);
    await until(() =>
      expect(opener.closed[0]?.message).toMatch(/unknown frame type 0x7f \[invalid_argument\]/),
    );
    expect(answerer.closed[0]?.code).toBe('invalid_argument');
  });

  it('close once, when an event handler throws too', async () => {
    const [a, b] = pair();
    const opener = end(a, { opener: true });
    const closed: RpcError[] = [];
    new Connection(
      b,
      { role: Role.agent, opener: false },
      {
        open: () => undefined,
        frame: () => {
          throw new TypeError('a mistake of ours');
        },
        closed: (error) => closed.push(error),
      },
    );
    await until(() => expect(opener.opened.length).toBe(1));
    for (let i = 0; i < 3; i++) opener.connection.send({ type: FrameType.STOP, id: 5 });
    await until(() => expect(opener.closed.map((error) => error.code)).toEqual(['internal']));
    expect(closed.map((error) => error.reason)).toEqual(['a mistake of ours']);
  });

  it('report a transport that ends without a word as unavailable', async () => {
    const [a, b] = pair();
    const opener = end(a, { opener: true });
    b.resume();
    b.end();
    await until(() => expect(opener.closed.map((error) => error.code)).toEqual(['unavailable']));
  });

  it('report a transport that fails as unavailable', async () => {
    const [a] = pair();
    const opener = end(a, { opener: true });
    a.destroy(new Error('ECONNRESET'));
    await until(() =>
      expect(opener.closed.map((error) => error.reason)).toEqual(['the connection failed: ECONNRESET']),
    );
  });
});

describe('an answerer', () => {
  it('begins a new epoch at a new preamble and forgets what was queued', async () => {
    const [a, b] = pair();
    const answerer = end(b, { opener: false });
    const received: Buffer[] = [];
    a.on('data', (chunk: Buffer) => received.push(chunk));
    a.write(preamble({ epoch: Buffer.alloc(16, 1) }));
    await until(() => expect(answerer.opened.length).toBe(1));
    // Queued and preamble handled in the same turn: the frame belongs to nobody.
    answerer.connection.send({ type: FrameType.DETACHED, id: 4 });
    const torn = encodeFrame({ type: FrameType.STOP, id: 5 }).subarray(0, 11);
    answerer.connection.receive(Buffer.concat([torn, FLUSH, preamble({ epoch: Buffer.alloc(16, 2) })]));
    expect(answerer.opened.map((peer) => peer.epoch[0])).toEqual([1, 2]);
    answerer.connection.send({ type: FrameType.DETACHED, id: 8 });
    await until(() => expect(Buffer.concat(received).length).toBeGreaterThanOrEqual(64 + 64 + 28));
    const bytes = Buffer.concat(received);
    expect(bytes.length).toBe(64 + 64 + 28);
    expect(bytes.subarray(64 + 40, 64 + 56)).toEqual(Buffer.alloc(16, 2));
    expect(bytes.readUInt32LE(128 + 8)).toBe(8);
    expect(answerer.frames).toEqual([]);
  });

  it('stays closed, whatever follows a GOAWAY', async () => {
    const [, b] = pair();
    const answerer = end(b, { opener: false });
    const goaway = encodeFrame({ type: FrameType.GOAWAY, payload: encodeFailure(14, 'gone') });
    answerer.connection.receive(Buffer.concat([preamble(), goaway, FLUSH, preamble()]));
    expect(answerer.opened.length).toBe(1);
    expect(answerer.closed.map((error) => error.message)).toEqual(['gone [unavailable]']);
    expect(answerer.connection.isOpen).toBe(false);
  });

  it('tells a peer of another version its own range, and closes', async () => {
    const [a, b] = pair();
    const answerer = end(b, { opener: false });
    const received: Buffer[] = [];
    a.on('data', (chunk: Buffer) => received.push(chunk));
    a.write(preamble({ versionMin: 2, versionMax: 9 }));
    await until(() => expect(answerer.closed[0]?.code).toBe('failed_precondition'));
    await until(() => expect(Buffer.concat(received).length).toBeGreaterThan(64 + 28));
    const bytes = Buffer.concat(received);
    expect([bytes.readUInt16LE(16), bytes.readUInt16LE(18)]).toEqual([1, 1]);
    expect(bytes[64 + 4]).toBe(FrameType.GOAWAY);
    expect(answerer.closed[0]?.message).toContain('this side speaks 1 to 1, the peer 2 to 9');
    expect(answerer.opened).toEqual([]);
  });

  it('closes the descriptor though its peer reads nothing', async () => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
    try {
      const [, b] = pair();
      const answerer = end(b, { opener: false });
      answerer.connection.receive(preamble());
      b.write(Buffer.alloc(1024 * 1024));
      answerer.connection.close(new RpcError('resource_exhausted', 'too slow'));
      expect(b.destroyed).toBe(false);
      vi.advanceTimersByTime(1000);
      expect(b.destroyed).toBe(true);
    } finally {
      vi.useRealTimers();
    }
  });
});

describe('an opener', () => {
  it('skips all that belongs to another epoch', async () => {
    const [a, b] = pair();
    const opener = end(a, { opener: true });
    const [sent] = (await new Promise<Buffer>((resolve) => b.once('data', resolve)).then((bytes) => [
      bytes,
    ])) as [Buffer];
    const epoch = Buffer.from(sent.subarray(24, 40));
    b.write(
      Buffer.concat([
        encodeFrame({ type: FrameType.STOP, id: 5 }).subarray(9),
        preamble({ echo: Buffer.alloc(16, 1), role: Role.agent }),
        encodeFrame({ type: FrameType.STOP, id: 6 }),
        preamble({ echo: epoch, role: Role.agent }),
        encodeFrame({ type: FrameType.STOP, id: 7 }),
      ]),
    );
    await until(() => expect(opener.frames.map((frame) => frame.id)).toEqual([7]));
    expect(opener.opened.length).toBe(1);
  });

  it('closes when the answer has no version that it speaks', async () => {
    const [a, b] = pair();
    const opener = end(a, { opener: true });
    const bytes = await new Promise<Buffer>((resolve) => b.once('data', resolve));
    b.write(preamble({ echo: bytes.subarray(24, 40), versionMin: 3, versionMax: 3 }));
    await until(() => expect(opener.closed[0]?.code).toBe('failed_precondition'));
    expect(opener.opened).toEqual([]);
  });

  it('takes no second preamble', async () => {
    const [a, b] = pair();
    const opener = end(a, { opener: true });
    const bytes = await new Promise<Buffer>((resolve) => b.once('data', resolve));
    const answer = preamble({ echo: bytes.subarray(24, 40) });
    b.write(Buffer.concat([answer, answer]));
    await until(() => expect(opener.closed[0]?.code).toBe('invalid_argument'));
  });
});
