/**
 * A guest taken over, against a real proxy daemon: its agent is this test and sends any bytes. Whatever it does ends
 * its own link at most, with a message that names the field; a neighbour's sandbox moves data all the time and every
 * sha256 is right; the daemon's memory stays below a stated bound. What the proxy forwards without judging is judged
 * by the endpoint: here by the library, in shim.test.ts by the shim.
 */
import { Coracle } from '@coracle/client';
import {
  Code,
  encodeAttach,
  encodeAttached,
  encodeExit,
  encodeFailure,
  encodeFrame,
  encodeWindow,
  type Frame,
  type FrameFields,
  FrameType,
  MORE,
} from '@coracle/wire';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { until } from '../support/wait.ts';
import { bindRaw, MiB, Neighbour, ProxyDaemon, type RawPeer, ScriptedGuest } from './hostile-peers.ts';

/**
 * What a hostile guest may cost the daemon at any time: a sandbox's 32 MiB of queues, twice that for memory that is
 * not collected yet, and V8's own growth.
 */
const MEMORY_BOUND_BYTES = 160 * MiB;

let daemon: ProxyDaemon;
let neighbour: Neighbour;
let idleBytes: number;
const guests: ScriptedGuest[] = [];
let sandboxes = 0;

beforeAll(async () => {
  daemon = await ProxyDaemon.start({ args: ['--log-level', 'warn'] });
  neighbour = await Neighbour.start(daemon);
  idleBytes = daemon.rssBytes;
});

afterAll(async () => {
  neighbour.stop();
  await daemon.stop();
});

beforeEach(() => neighbour.more());

afterEach(async () => {
  await neighbour.more();
  expect(daemon.alive).toBe(true);
  expect(daemon.peakBytes - idleBytes).toBeLessThan(MEMORY_BOUND_BYTES);
  for (const guest of guests.splice(0)) guest.close();
});

interface Evil {
  readonly id: string;
  readonly guest: ScriptedGuest;
  readonly client: RawPeer;
}

const P = 7;
const GENERATION = 99;

const attachFrame = (process = P, generation = GENERATION): FrameFields => {
  const credit = { delivered: 0, limit: MiB };
  const payload = encodeAttach({ token: Buffer.alloc(16), stdout: credit, stderr: credit });
  return { type: FrameType.ATTACH, id: 4 * process, generation, payload };
};

const attachedFrame = ({ id, generation }: Frame): FrameFields => {
  const credit = { delivered: 0, limit: 1024 };
  const payload = encodeAttached({ stdin: credit, control: credit, stdoutStart: 0, stderrStart: 0 });
  return { type: FrameType.ATTACHED, id, generation, payload };
};

async function listen(options?: Parameters<typeof ScriptedGuest.listen>[2]) {
  const id = `evil-${++sandboxes}`;
  const guest = await ScriptedGuest.listen(daemon.sandboxes, id, options);
  guests.push(guest);
  return { id, guest };
}

/** A sandbox of a guest that answers the preamble and takes every attachment, with one client. */
async function takeOver(): Promise<Evil> {
  const { id, guest } = await listen({
    onLink: (peer) => {
      peer.onFrame = (frame) => {
        if (frame.type === FrameType.ATTACH) peer.send(attachedFrame(frame));
      };
    },
  });
  const client = await bindRaw(daemon.socket, id);
  client.send(attachFrame());
  await client.got(FrameType.ATTACHED);
  return { id, guest, client };
}

const data = (payload: Buffer, fields: Partial<FrameFields> = {}): FrameFields => ({
  type: FrameType.DATA,
  id: 4 * P + 2,
  generation: GENERATION,
  offset: 0,
  payload,
  ...fields,
});

/** A valid frame with some of its bytes changed. */
function spoilt(fields: FrameFields, change: (bytes: Buffer) => void): Buffer {
  const bytes = encodeFrame(fields);
  change(bytes);
  return bytes;
}

const exit: FrameFields = {
  type: FrameType.EXIT,
  id: 4 * P,
  generation: GENERATION,
  payload: encodeExit({ cause: 'exited', waitStatus: 0, stdoutFinal: 0, stderrFinal: 0, message: '' }),
};
const oneByte = data(Buffer.from('x'));

describe('what breaks the rules of frames ends the link, and says which field', () => {
  test.each<[string, Buffer, RegExp]>([
    [
      'a length above the limit',
      spoilt(oneByte, (b) => b.writeUInt32LE(32_741, 0)),
      /payload of 32741 bytes/,
    ],
    [
      'a length of 4 GiB',
      spoilt(oneByte, (b) => b.writeUInt32LE(0xffff_ffff, 0)),
      /payload of 4294967295 bytes/,
    ],
    ['DATA without data', spoilt(oneByte, (b) => b.writeUInt32LE(0, 0)), /DATA with a payload of 0 bytes/],
    ['a short EXIT', spoilt(exit, (b) => b.writeUInt32LE(23, 0)), /EXIT with a payload of 23 bytes/],
    ['a wrong trailer', spoilt(oneByte, (b) => b.writeUInt32LE(1, b.length - 4)), /wrong trailer/],
    ['an unknown type', spoilt(oneByte, (b) => b.writeUInt8(0x55, 4)), /unknown frame type 0x55/],
    ['type 0', spoilt(oneByte, (b) => b.writeUInt32LE(0, 4)), /zeros where a frame was expected/],
    ['flags on DATA', spoilt(oneByte, (b) => b.writeUInt8(1, 5)), /unknown flags 0x1 in DATA/],
    ['an unknown flag', spoilt({ type: FrameType.RESPONSE }, (b) => b.writeUInt8(2, 5)), /unknown flags 0x2/],
    ['reserved bits', spoilt(oneByte, (b) => b.writeUInt16LE(1, 6)), /reserved bits set in DATA/],
    ['an offset above 2^53', spoilt(oneByte, (b) => b.writeUInt32LE(0x20_0000, 20)), /offset above 2\^53/],
    [
      'an offset whose end is above 2^53',
      spoilt(oneByte, (b) => b.writeBigUInt64LE(2n ** 53n - 1n, 16)),
      /ends above 2\^53/,
    ],
    ['EXIT with an offset', spoilt(exit, (b) => b.writeUInt32LE(5, 16)), /EXIT with offset 5/],
    [
      'a stream of process 0',
      encodeFrame(data(Buffer.from('x'), { id: 3 })),
      /stream 3 belongs to no process/,
    ],
    ['a request', encodeFrame({ type: FrameType.REQUEST, id: 1 }), /REQUEST from the agent/],
    ['BIND', encodeFrame({ type: FrameType.BIND, payload: Buffer.from('neighbour') }), /BIND from the agent/],
    ['DETACHED', encodeFrame({ type: FrameType.DETACHED, id: 4 * P }), /DETACHED from the agent/],
    ['ATTACH', encodeFrame(attachFrame()), /ATTACH from the agent/],
  ])('%s', async (_, bytes, message) => {
    const { guest, client } = await takeOver();
    guest.link.socket.write(bytes);
    expect(await guest.link.goAway()).toMatchObject({
      code: Code.invalid_argument,
      message: expect.stringMatching(message),
    });
    // The client is asked to come again, and told why.
    expect(await client.goAway()).toMatchObject({
      code: Code.aborted,
      message: expect.stringMatching(message),
    });
  });

  test('an answer without an end', async () => {
    const { guest, client } = await takeOver();
    client.send({ type: FrameType.REQUEST, id: 5, payload: Buffer.from('anything') });
    const { id } = await guest.link.got(FrameType.REQUEST);
    const part = encodeFrame({ type: FrameType.RESPONSE, id, flags: MORE, payload: Buffer.alloc(32_000) });
    await guest.link.flood(part, 1000);
    // What the guest has sent on resets the connection: only the client is sure to read why.
    expect(await client.goAway()).toMatchObject({
      code: Code.aborted,
      message: expect.stringMatching(/RESPONSE \d+ is larger than 4194304 bytes/),
    });
  });

  test('no preamble among 64 MiB', async () => {
    const { id, guest } = await listen({ answer: false });
    const waiting = bindRaw(daemon.socket, id);
    waiting.catch(() => undefined);
    await until(() => guest.links.length > 0, 'the proxy dials');
    await guest.link.flood(Buffer.alloc(MiB, 0xc0), 80);
    await expect(waiting).rejects.toThrow(/no preamble within 67108864 bytes/);
  });
});

describe('what belongs to nobody is dropped, at no cost', () => {
  const flood = (fields: FrameFields): Buffer =>
    Buffer.concat(Array.from({ length: 2000 }, () => encodeFrame(fields)));

  test.each<[string, FrameFields]>([
    // The proxy lets ATTACHED pass once, as the answer to an ATTACH.
    ['ATTACHED again', attachedFrame({ id: 4 * P, generation: GENERATION } as Frame)],
    [
      'ATTACHED for a generation that nobody asked for',
      { ...attachedFrame({ id: 4 * P, generation: 1 } as Frame) },
    ],
    ['ATTACHED for unknown processes', attachedFrame({ id: 4 * 4711, generation: 1 } as Frame)],
    [
      'REFUSED',
      {
        type: FrameType.REFUSED,
        id: 4 * P,
        generation: 1,
        payload: encodeFailure(Code.internal, 'x'.repeat(4000)),
      },
    ],
    ['RESPONSE', { type: FrameType.RESPONSE, id: 0xffff_0000, payload: Buffer.alloc(30_000) }],
    [
      'RESPONSE without an end',
      { type: FrameType.RESPONSE, id: 77, flags: MORE, payload: Buffer.alloc(30_000) },
    ],
    ['DATA of another generation', data(Buffer.alloc(30_000), { generation: 1 })],
    ['DATA of an unknown process', data(Buffer.alloc(30_000), { id: 4 * 4711 + 2 })],
    ['the smallest frames', { type: FrameType.EOF, id: 4 * 4711 + 2, generation: 1, offset: 1 }],
  ])('a flood of %s', async (_, fields) => {
    const { guest, client } = await takeOver();
    const bytes = flood(fields);
    await guest.link.flood(bytes, Math.ceil((64 * MiB) / Math.max(bytes.length, MiB)));
    // The client is there as before: its request passes, and the answer comes back.
    client.send({ type: FrameType.REQUEST, id: 8 });
    const { id } = await guest.link.got(FrameType.REQUEST);
    guest.link.send({ type: FrameType.RESPONSE, id });
    await client.got(FrameType.RESPONSE, (frame) => frame.id === 8);
    expect(client.frames.map(({ type }) => type)).toEqual([
      FrameType.BOUND,
      FrameType.ATTACHED,
      FrameType.RESPONSE,
    ]);
  });
});

describe('memory', () => {
  test('small frames for a stuck client do not hold on to what they came with', async () => {
    const { guest, client } = await takeOver();
    client.socket.pause();
    // Each byte for the client comes with 60 KB for nobody, in one read: kept as a view, 2,000 would hold 120 MB.
    const junk = encodeFrame(data(Buffer.alloc(32_000), { generation: 1 }));
    let offset = 0;
    for (let i = 0; i < 4000; i++) {
      const one = encodeFrame(data(Buffer.from('x'), { offset: offset++ }));
      await guest.link.flood(Buffer.concat([one, junk, junk]), 1);
    }
    guest.link.send(data(Buffer.from('x'), { offset }));
    client.socket.resume();
    client.keep = 10_000;
    await client.got(FrameType.DATA, (frame) => frame.offset === offset);
  });

  test('a client that does not read is cut off, and the worst one of the sandbox first', async () => {
    const { id, guest } = await takeOver();
    const clients: RawPeer[] = [];
    for (let i = 0; i < 4; i++) {
      const client = await bindRaw(daemon.socket, id);
      client.send(attachFrame(100 + i));
      await client.got(FrameType.ATTACHED);
      client.socket.pause();
      clients.push(client);
    }
    // Each is less than one client may have (16), together they are more than a sandbox may (32).
    for (const [i, mebibytes] of [12, 12, 6, 6].entries()) {
      const frame = encodeFrame(data(Buffer.alloc(32_000), { id: 4 * (100 + i) + 2 }));
      await guest.link.flood(frame, (mebibytes * MiB) / frame.length);
    }
    await neighbour.more();
    for (const client of clients) client.socket.resume();
    const cut = (): boolean[] => clients.map(({ farewell, ended }) => ended || farewell !== undefined);
    await until(() => cut().includes(true), 'one is cut off');
    const [one, other, ...modest] = cut();
    expect([one, other].filter(Boolean)).toHaveLength(1);
    expect(modest).toEqual([false, false]);
  });

  test('hundreds of clients that read nothing cost what the host allows them in all', async () => {
    const { id, guest } = await takeOver();
    const clients = await Promise.all(Array.from({ length: 100 }, () => bindRaw(daemon.socket, id)));
    for (const [i, client] of clients.entries()) {
      client.send(attachFrame(200 + i));
      await client.got(FrameType.ATTACHED);
      client.socket.pause();
    }
    const frames = clients.map((_, i) => encodeFrame(data(Buffer.alloc(32_000), { id: 4 * (200 + i) + 2 })));
    await guest.link.flood(Buffer.concat(frames), 64);
    await neighbour.more();
    for (const { socket } of clients) socket.destroy();
  });
});

describe('a guest that reads nothing', () => {
  test.each<[string, number, (offset: number) => FrameFields]>([
    [
      'WINDOW',
      20_000,
      () => ({ type: FrameType.WINDOW, id: 4 * P + 2, generation: GENERATION, payload: encodeWindow(1) }),
    ],
    ['ATTACH', 4000, () => attachFrame()],
    ['DATA', 200, (i) => data(Buffer.alloc(32_000), { id: 4 * P + 1, offset: i * 32_000 })],
  ])(
    'holds up a client that floods %s, and one that comes again and again leaves nothing',
    async (_, count, make) => {
      const { id, guest, client } = await takeOver();
      guest.link.socket.pause();
      // Whoever floods is not read on; when it goes, what it has sent goes with it.
      for (const peer of [
        client,
        ...(await Promise.all(Array.from({ length: 20 }, () => bindRaw(daemon.socket, id)))),
      ]) {
        const frames = Buffer.concat(Array.from({ length: count }, (_, i) => encodeFrame(make(i))));
        peer.send(attachFrame());
        peer.socket.write(frames);
        await neighbour.more();
        expect(peer.ended).toBe(false);
        peer.socket.destroy();
      }
    },
  );
});

describe('silence', () => {
  test('costs no time: nothing at all, half a preamble, a preamble and nothing, half a frame', async () => {
    const before = await cpuOfRounds();
    const mute = await listen({ answer: false });
    const half = await listen({
      answer: false,
      onLink: (peer) => void peer.socket.write(Buffer.alloc(20, 0xc0)),
    });
    const silent = await listen();
    const cut = await takeOver();
    cut.guest.link.socket.write(encodeFrame(data(Buffer.alloc(1000))).subarray(0, 500));
    const unanswered = [mute, half].map(({ id }) => bindRaw(daemon.socket, id));
    for (const waiting of unanswered) waiting.catch(() => undefined);
    await bindRaw(daemon.socket, silent.id);
    const during = await cpuOfRounds();
    // A loop that turns without a pause would take all the time there is: many times what the rounds take.
    expect(during).toBeLessThan(3 * before + 200);
    for (const guest of guests.splice(0)) guest.close();
    await Promise.allSettled(unanswered);
  });

  test('a link that is closed as soon as it is open, fifty times', async () => {
    const { id } = await listen({ onLink: (peer) => void peer.socket.once('data', () => peer.socket.end()) });
    for (let i = 0; i < 50; i++) {
      await bindRaw(daemon.socket, id).then(
        async (client) => expect((await client.goAway()).code).toBe(Code.aborted),
        (error: Error) => expect(error.message).toMatch(/the link to sandbox .* has ended/),
      );
    }
  });

  async function cpuOfRounds(): Promise<number> {
    const before = daemon.cpuMs;
    for (let i = 0; i < 8; i++) await neighbour.more();
    return daemon.cpuMs - before;
  }
});

describe('the library judges what the proxy forwards', () => {
  const window = (delivered: number, limit: number, stream = 1): FrameFields => ({
    type: FrameType.WINDOW,
    id: 4 * P + stream,
    offset: delivered,
    payload: encodeWindow(limit),
  });
  const exitAt = (stdoutFinal: number): FrameFields => ({
    ...exit,
    payload: encodeExit({ cause: 'exited', waitStatus: 0, stdoutFinal, stderrFinal: 0, message: '' }),
  });

  test.each<[string, FrameFields[], RegExp]>([
    ['WINDOW beyond what was sent', [window(1, 2000)], /WINDOW for stdin of process 7 at 1, sent were 0/],
    [
      'WINDOW that takes credit back',
      [window(0, 2000), window(0, 10)],
      /stdin of process 7 takes credit back/,
    ],
    ['WINDOW of an output', [window(0, 10, 2)], /WINDOW for stdout/],
    ['a gap', [data(Buffer.from('x'), { offset: 5 })], /gap in stdout of process 7: expected 0, got 5/],
    [
      'DATA beyond the credit',
      Array.from({ length: 40 }, (_, i) => data(Buffer.alloc(32_000), { offset: i * 32_000 })),
      /stdout of process 7 sends to \d+ with credit to \d+|goes back to 0/,
    ],
    ['DATA of stdin', [data(Buffer.from('x'), { id: 4 * P + 1 })], /DATA for stdin/],
    [
      'EOF that moves',
      [
        { ...data(Buffer.alloc(0)), type: FrameType.EOF, offset: 5 },
        { ...data(Buffer.alloc(0)), type: FrameType.EOF, offset: 6 },
      ],
      /end of stdout of process 7 moves from 5 to 6/,
    ],
    [
      // EOF is control and may overtake the byte.
      'EOF behind the bytes that came',
      [oneByte, { ...data(Buffer.alloc(0)), type: FrameType.EOF }],
      /ends at 0, received were 1|to 1 beyond its end 0|goes back to 0/,
    ],
    ['EXIT twice with other offsets', [exitAt(5), exitAt(6)], /end of stdout of process 7 moves from 5 to 6/],
    ['DATA beyond the exit', [exitAt(2), data(Buffer.from('xyz'))], /sends to 3 beyond its end 2/],
    ['STOP of an output', [{ type: FrameType.STOP, id: 4 * P + 2 }], /STOP for stdout/],
  ])('%s', async (_, frames, message) => {
    const { id } = await listen({
      onLink: (peer) => {
        peer.onFrame = (frame) => {
          if (frame.type !== FrameType.ATTACH) return;
          peer.send(attachedFrame(frame));
          for (const fields of frames) peer.send({ ...fields, generation: frame.generation });
        };
      },
    });
    const sandbox = await new Coracle({ proxy: daemon.socket }).connect(id);
    const handle = { process: P, token: Buffer.alloc(16), terminal: false, stdin: true, pid: 0 };
    const process = await sandbox.attach(handle).catch((error: Error) => error);
    const why = process instanceof Error ? process : await process.wait().catch((error: Error) => error);
    expect(why).toMatchObject({ code: 'invalid_argument' });
    expect((why as Error).message).toMatch(message);
    await sandbox[Symbol.asyncDispose]();
  });
});
