/** What a capture keeps and what it does not, and that it never waits. The file format itself is read by packages/tap. */
import { describe, expect, it } from 'vitest';
import { encodeFrame, FrameType } from '../frame.ts';
import {
  CreateContainerRequest,
  CreateContainerResponse,
  ExecProcessRequest,
} from '../gen/coracle/v1/agent.ts';
import { Request, Response } from '../gen/coracle/v1/link.ts';
import { encodeMessage } from '../message.ts';
import { encodeAttach, encodeControlRecord, encodeExit } from '../payloads.ts';
import { Capture, type CaptureContent, type SandboxCapture } from './capture.ts';
import { BlockType } from './pcapng.ts';
import { Direction, PSEUDO_HEADER_BYTES, RecordFlag } from './record.ts';

const SECRET = 'hunter2-swordfish';

interface Written {
  readonly blocks: { readonly type: number; readonly bytes: Buffer }[];
  readonly packets: { readonly flags: number; readonly digest: string; readonly payload: Buffer }[];
}

/** Runs `use` with a capture of one sandbox and takes what it wrote apart. */
function captured(content: CaptureContent, use: (box: SandboxCapture) => void): Written {
  const chunks: Buffer[] = [];
  const capture = new Capture({
    content,
    application: 'test',
    place: 'here',
    maxQueuedBytes: 1 << 20,
    write: (bytes, taken) => {
      chunks.push(Buffer.from(bytes));
      taken();
    },
  });
  use(capture.sandbox('box'));
  capture.close();
  return takeApart(Buffer.concat(chunks));
}

function takeApart(file: Buffer): Written {
  const blocks: { type: number; bytes: Buffer }[] = [];
  for (let at = 0; at < file.length; ) {
    const length = file.readUInt32LE(at + 4);
    expect(file.readUInt32LE(at + length - 4), 'both lengths agree').toBe(length);
    blocks.push({ type: file.readUInt32LE(at), bytes: file.subarray(at, at + length) });
    at += length;
  }
  const packets = blocks
    .filter(({ type }) => type === BlockType.packet)
    .map(({ bytes }) => {
      const data = bytes.subarray(28, 28 + bytes.readUInt32LE(20));
      return {
        flags: data[3] ?? 0,
        digest: data.toString('hex', 8, 16),
        payload: data.subarray(PSEUDO_HEADER_BYTES + 24),
      };
    });
  return { blocks, packets };
}

const contents = ['headers', 'digests', 'payload'] as const;
const stdin = (payload: string, offset = 0, id = 5): Buffer =>
  encodeFrame({ type: FrameType.DATA, id, generation: 9, offset, payload: Buffer.from(payload) });

function request(id: number, method: string, payload: Uint8Array): Buffer[] {
  const message = Request.encode(Request.fromPartial({ method, payload, idempotencyKey: 'key' })).finish();
  return encodeMessage(FrameType.REQUEST, id, message);
}

function response(id: number, fields: Parameters<typeof Response.fromPartial>[0]): Buffer {
  const message = Response.encode(Response.fromPartial(fields)).finish();
  return encodeMessage(FrameType.RESPONSE, id, message)[0] as Buffer;
}

describe('what users type and run', () => {
  it.each(contents)('is in a capture of %s only when it was asked for', (content) => {
    const exec = ExecProcessRequest.encode(
      ExecProcessRequest.fromPartial({
        containerId: 'web',
        execId: 'e1',
        process: Buffer.from(JSON.stringify({ env: [`PASSWORD=${SECRET}`] })),
        columns: 80,
      }),
    ).finish();
    const { blocks, packets } = captured(content, (box) => {
      box.frame(Direction.toAgent, 1, stdin(SECRET));
      for (const part of request(1, 'ExecProcess', exec)) box.frame(Direction.toAgent, 1, part);
      box.frame(Direction.toClient, 1, response(1, { error: { code: 5, message: SECRET, cause: SECRET } }));
      const exit = encodeExit({
        cause: 'start_failed',
        waitStatus: 127 << 8,
        stdoutFinal: 0,
        stderrFinal: 0,
        message: SECRET,
      });
      box.frame(Direction.toClient, 1, encodeFrame({ type: FrameType.EXIT, id: 4, payload: exit }));
    });
    const times = Buffer.concat(blocks.map(({ bytes }) => bytes))
      .toString('latin1')
      .split(SECRET).length;
    expect(times - 1).toBe(content === 'payload' ? 5 : 0);
    const kept = ExecProcessRequest.decode(Request.decode(packets[1]?.payload as Buffer).payload);
    expect(kept).toMatchObject({ containerId: 'web', execId: 'e1', columns: 80 });
    if (content === 'digests')
      expect(Buffer.from(kept.process).toString()).toMatch(/^<38 bytes [0-9a-f]{16}>$/);
    expect(Response.decode(packets[2]?.payload as Buffer).error?.code).toBe(5);
  });

  it('of a message in several frames is left out of each of them', () => {
    const config = Buffer.from(SECRET.repeat(6000));
    const create = CreateContainerRequest.encode(
      CreateContainerRequest.fromPartial({ containerId: 'web', config, rootfsPath: SECRET }),
    ).finish();
    const { packets } = captured('digests', (box) => {
      for (const part of request(7, 'CreateContainer', create)) box.frame(Direction.toAgent, 1, part);
    });
    expect(packets.length).toBe(4);
    for (const { payload } of packets) expect(payload.includes('swordfish')).toBe(false);
    const kept = CreateContainerRequest.decode(Request.decode(packets[0]?.payload as Buffer).payload);
    expect(kept.containerId).toBe('web');
    expect(Buffer.from(kept.config).toString()).toBe(`<${config.length} bytes, cut>`);
    expect(packets.slice(1).map(({ payload }) => payload.length)).toEqual([0, 0, 0]);
  });

  it('is left out of an answer whose request came before the capture, and of what is no message', () => {
    const answer = response(3, { payload: Buffer.from(SECRET) });
    const noise = encodeFrame({ type: FrameType.REQUEST, id: 8, payload: Buffer.from(`\xff${SECRET}`) });
    const { packets } = captured('digests', (box) => {
      box.frame(Direction.toClient, 1, answer);
      box.frame(Direction.toAgent, 1, noise);
    });
    for (const { payload } of packets) expect(payload.includes(SECRET)).toBe(false);
  });
});

describe("the link's secrets", () => {
  it.each(contents)('are in no capture: %s', (content) => {
    const token = Buffer.from('0123456789abcdef');
    const credit = { delivered: 0, limit: 9 };
    const payload = encodeAttach({ token, stdout: credit, stderr: credit });
    const created = CreateContainerResponse.encode(
      CreateContainerResponse.fromPartial({ process: { process: 1, token } }),
    ).finish();
    const { blocks, packets } = captured(content, (box) => {
      box.frame(Direction.toAgent, 1, encodeFrame({ type: FrameType.ATTACH, id: 4, generation: 1, payload }));
      for (const part of request(1, 'CreateContainer', Buffer.alloc(0)))
        box.frame(Direction.toAgent, 1, part);
      box.frame(Direction.toClient, 1, response(1, { payload: created }));
    });
    expect(Buffer.concat(blocks.map(({ bytes }) => bytes)).includes(token)).toBe(false);
    expect(packets[2]?.flags).toBe(RecordFlag.REDACTED);
  });
});

describe('digests', () => {
  it('are the same for the same bytes at the same place only', () => {
    const { packets } = captured('digests', (box) => {
      for (const [text, offset, id] of [
        ['a', 0, 5],
        ['a', 0, 5],
        ['a', 1, 5],
        ['a', 0, 6],
        ['b', 0, 5],
      ] as const)
        box.frame(Direction.toAgent, 1, stdin(text, offset, id));
    });
    const [first, again, ...others] = packets.map(({ digest }) => digest);
    expect(again).toBe(first);
    expect(new Set([first, ...others]).size).toBe(4);
  });

  it('of two captures have nothing to do with each other', () => {
    const one = (): string | undefined =>
      captured('digests', (box) => box.frame(Direction.toAgent, 1, stdin('a'))).packets[0]?.digest;
    expect(one()).not.toBe(one());
  });
});

it('keeps signals and sizes', () => {
  const payload = encodeControlRecord({ kind: 'resize', columns: 80, rows: 24 });
  const { packets } = captured('headers', (box) =>
    box.frame(Direction.toAgent, 1, encodeFrame({ type: FrameType.DATA, id: 4, payload })),
  );
  expect(packets[0]).toMatchObject({ flags: 0, payload });
});

it('drops and counts what is not taken, and goes on when there is room', () => {
  const chunks: Buffer[] = [];
  const held: (() => void)[] = [];
  const capture = new Capture({
    content: 'payload',
    application: 'test',
    place: 'here',
    maxQueuedBytes: 100_000,
    write: (bytes, taken) => {
      chunks.push(Buffer.from(bytes));
      held.push(taken);
    },
  });
  const box = capture.sandbox('box');
  for (let index = 0; index < 10; index++) box.frame(Direction.toAgent, 1, stdin('x'.repeat(30_000)));
  capture.close();
  expect(box).toMatchObject({ received: 10, dropped: 7 });
  expect(capture.queuedBytes).toBeLessThan(101_000);
  for (const taken of held) taken();
  const { packets, blocks } = takeApart(Buffer.concat(chunks));
  expect(packets.length).toBe(3);
  const counters = blocks.find(({ type }) => type === BlockType.statistics)?.bytes as Buffer;
  // Block head 8, interface and time 12, then isb_ifrecv and isb_ifdrop: 4 and 8 each.
  expect([counters.readBigUInt64LE(24), counters.readBigUInt64LE(36)]).toEqual([10n, 7n]);
});

it('leaves memory alone until it is taken, and uses it again then', () => {
  const waiting: { bytes: Buffer; asWritten: Buffer; taken: () => void }[] = [];
  const memories = new Set<ArrayBufferLike>();
  let writes = 0;
  const capture = new Capture({
    content: 'payload',
    application: 'test',
    place: 'here',
    maxQueuedBytes: 1 << 24,
    write: (bytes, taken) => {
      writes++;
      memories.add(bytes.buffer);
      waiting.push({ bytes, asWritten: Buffer.from(bytes), taken });
    },
  });
  const box = capture.sandbox('box');
  const takeOldest = () => {
    const { bytes, asWritten, taken } = waiting.shift()!;
    expect(bytes.equals(asWritten)).toBe(true);
    taken();
  };
  for (let index = 0; index < 200; index++) {
    box.frame(Direction.toAgent, 1, stdin(String.fromCharCode(97 + (index % 26)).repeat(30_000)));
    if (waiting.length > 3) takeOldest();
  }
  capture.close();
  while (waiting.length > 0) takeOldest();
  expect(writes).toBeGreaterThan(20);
  expect(memories.size).toBeLessThan(7);
});
