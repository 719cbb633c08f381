/**
 * A mad client against the real proxy and the real agent: it costs itself its connection or its attachment, and nobody
 * else anything. An honest process of the same sandbox echoes what it gets all the time, and a neighbour's sandbox
 * moves data through the same proxy.
 */
import { spawn } from 'node:child_process';
import { randomBytes, randomInt } from 'node:crypto';
import { once } from 'node:events';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import type { ContainerProcess, Sandbox } from '@coracle/client';
import {
  Code,
  decodeFailure,
  encodeAttach,
  encodeFrame,
  encodeMessage,
  encodePreamble,
  encodeWindow,
  type FrameFields,
  FrameType,
  MAX_MESSAGE_BYTES,
  MORE,
  Request,
  Response,
  Role,
} from '@coracle/wire';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { bindRaw, connectRaw, MiB, Neighbour, ProxyDaemon, type RawPeer } from './hostile-peers.ts';
import { containerConfig, type LocalPlace, makeLocalPlace, until } from './local-sandbox.ts';

/** What mad clients may cost at any time: what waits for guests and for clients, and what is not collected yet. */
const PROXY_BOUND_BYTES = 160 * MiB;
/** The agent: unfinished messages (32 MiB, twice while they grow), what is kept for readers (32 MiB), V8's own growth. */
const AGENT_BOUND_BYTES = 200 * MiB;

let place: LocalPlace;
let daemon: ProxyDaemon;
let neighbour: Neighbour;
let sandbox: Sandbox;
/** Honest: `cat`, which echoes what it gets. */
let echo: ContainerProcess;
let idle: { proxyBytes: number; agentBytes: number };
const peers: RawPeer[] = [];
const PREAMBLE = encodePreamble({
  versionMin: 1,
  versionMax: 1,
  features: 0,
  epoch: randomBytes(16),
  echo: Buffer.alloc(16),
  role: Role.client,
});

beforeAll(async () => {
  place = await makeLocalPlace();
  // The proxy that everybody uses here, in place of the one that the library would start.
  daemon = await ProxyDaemon.start({
    sandboxes: join(place.directory, 'sandboxes'),
    socket: place.proxySocket,
  });
  sandbox = await place.startSandbox();
  const rootfs = { share: 'host', path: 'rootfs' };
  const container = await sandbox.createContainer({
    id: 'main',
    config: containerConfig(['sleep', '10000']),
    rootfs,
  });
  await container.start();
  echo = await container.exec({ args: ['cat'], stdin: true });
  neighbour = await Neighbour.start(daemon);
  idle = { proxyBytes: daemon.rssBytes, agentBytes: await agentBytes() };
});

afterAll(async () => {
  neighbour.stop();
  await sandbox.destroy();
  await daemon.stop();
  await place[Symbol.asyncDispose]();
});

afterEach(async () => {
  await neighbour.more();
  await echoWorks();
  expect(daemon.peakBytes - idle.proxyBytes).toBeLessThan(PROXY_BOUND_BYTES);
  expect((await agentBytes()) - idle.agentBytes).toBeLessThan(AGENT_BOUND_BYTES);
  for (const { socket } of peers.splice(0)) socket.destroy();
});

async function agentBytes(): Promise<number> {
  return (await sandbox.details()).residentBytes;
}

/** The honest process still has its attachment, its signals and its bytes. */
async function echoWorks(): Promise<void> {
  const sent = randomBytes(200_000);
  const came: Buffer[] = [];
  let length = 0;
  const take = (chunk: Buffer): void => {
    came.push(chunk);
    length += chunk.length;
  };
  echo.stdout.on('data', take);
  echo.stdin.write(sent);
  await until(() => length >= sent.length, 'the echo is whole');
  echo.stdout.off('data', take);
  expect(Buffer.concat(came).equals(sent)).toBe(true);
}

async function bind(): Promise<RawPeer> {
  const peer = await bindRaw(daemon.socket, sandbox.id);
  peers.push(peer);
  return peer;
}

interface AttachOptions {
  readonly token?: Uint8Array;
  readonly delivered?: number;
  readonly process?: number;
}

function attach({
  token = echo.handle.token,
  delivered = 0,
  process = echo.handle.process,
}: AttachOptions = {}) {
  const credit = { delivered, limit: delivered + 1024 };
  const payload = encodeAttach({ token, stdout: credit, stderr: { delivered: 0, limit: 0 } });
  const generation = randomInt(1, 2 ** 32);
  return { type: FrameType.ATTACH, id: 4 * process, generation, payload } satisfies FrameFields;
}

const stream = (type: FrameFields['type'], kind: number, fields: Partial<FrameFields> = {}): FrameFields => ({
  type,
  id: 4 * echo.handle.process + kind,
  generation: 5,
  ...fields,
});

function request(method: string, fields: Partial<Request> = {}): Buffer {
  return Buffer.from(Request.encode(Request.fromPartial({ method, ...fields })).finish());
}

const error = (payload: Buffer) => Response.decode(payload).error;

describe('what breaks the rules ends the connection', () => {
  const part = encodeFrame({ type: FrameType.REQUEST, id: 1, flags: MORE, payload: Buffer.alloc(32_000) });
  const wait = {
    type: FrameType.REQUEST,
    id: 9,
    payload: request('WaitProcess', { payload: Buffer.from('\n\x04main') }),
  };

  test.each<[string, () => Buffer, RegExp]>([
    ['an unknown type', () => Buffer.alloc(24, 0x77), /unknown frame type 0x77/],
    [
      'a length above the limit',
      () => Buffer.from('ffffff7f01000000'.padEnd(48, '0'), 'hex'),
      /DATA with a payload of/,
    ],
    ['ATTACH to a stream', () => encodeFrame({ ...attach(), id: 5 }), /ATTACH to stream 5/],
    [
      'ATTACH without a generation',
      () => encodeFrame({ ...attach(), generation: 0 }),
      /ATTACH with generation 0/,
    ],
    ['a process 0', () => encodeFrame({ ...attach(), id: 0 }), /stream 0 belongs to no process/],
    ['an answer', () => encodeFrame({ type: FrameType.RESPONSE, id: 1 }), /RESPONSE from a client/],
    [
      'EXIT',
      () => encodeFrame({ type: FrameType.EXIT, id: 4, payload: Buffer.alloc(24) }),
      /EXIT from a client/,
    ],
    ['a second BIND', () => encodeFrame({ type: FrameType.BIND, payload: Buffer.from('x') }), /second BIND/],
    [
      'a request id that is in use',
      () => Buffer.concat([encodeFrame(wait), encodeFrame(wait)]),
      /request id 9 is in use/,
    ],
    [
      'a message without an end',
      () => Buffer.concat(Array.from({ length: Math.ceil(MAX_MESSAGE_BYTES / 32_000) + 1 }, () => part)),
      /request 1 is larger than 4194304 bytes/,
    ],
    [
      '257 requests',
      () => Buffer.concat(Array.from({ length: 257 }, (_, id) => encodeFrame({ ...wait, id }))),
      /more than 256 requests/,
    ],
  ])('%s', async (_, bytes, message) => {
    const mad = await bind();
    mad.socket.write(bytes());
    expect(await mad.goAway()).toMatchObject({
      code: Code.invalid_argument,
      message: expect.stringMatching(message),
    });
  });

  test('a request before BIND, and before BOUND', async () => {
    const early = connectRaw(daemon.socket);
    early.send({ type: FrameType.REQUEST, id: 1 });
    expect((await early.goAway()).message).toMatch(/REQUEST before BIND/);
    const hasty = connectRaw(daemon.socket);
    hasty.send({ type: FrameType.BIND, payload: Buffer.from('no-such-sandbox') }, attach());
    expect((await hasty.goAway()).message).toMatch(/ATTACH before BOUND|no sandbox no-such-sandbox/);
  });
});

describe('what is not its own', () => {
  test('a sandbox that this proxy does not serve', async () => {
    const args = ['--sandbox', 'mine', '--log-level', 'error'];
    const single = await ProxyDaemon.start({ sandboxes: join(place.directory, 'sandboxes'), args });
    try {
      await expect(bindRaw(single.socket, sandbox.id)).rejects.toThrow(/this proxy serves sandbox mine only/);
      await expect(bindRaw(single.socket, '../neighbour')).rejects.toThrow(/is no sandbox id/);
    } finally {
      await single.stop();
    }
  });

  test.each<[string, AttachOptions, number]>([
    ['a wrong token', { token: Buffer.alloc(16) }, Code.permission_denied],
    ['an offset that was never sent', { delivered: 2 ** 50 }, Code.out_of_range],
    ['a process that does not exist', { process: 4711 }, Code.not_found],
  ])('ATTACH with %s takes nothing from the owner', async (_, options, code) => {
    const mad = await bind();
    const frame = attach(options);
    // Credit and bytes behind it, as if it had been accepted.
    const id = frame.id;
    mad.send(
      frame,
      { type: FrameType.WINDOW, id: id + 2, generation: frame.generation, payload: encodeWindow(2 ** 40) },
      { type: FrameType.DATA, id: id + 1, generation: frame.generation, payload: Buffer.from('not yours') },
      { type: FrameType.STOP, id: id + 2, generation: frame.generation },
    );
    const refused = await mad.got(FrameType.REFUSED);
    expect(refused.generation).toBe(frame.generation);
    expect(decodeFailure(refused.payload).code).toBe(code);
    await echoWorks();
  });

  test('ATTACH with an offset above 2^53 is refused, and ends nobody’s link', async () => {
    const mad = await bind();
    const frame = attach();
    frame.payload.fill(0xff, 16, 24);
    mad.send(frame);
    expect(decodeFailure((await mad.got(FrameType.REFUSED)).payload).code).toBe(Code.invalid_argument);
  });

  test('guessed processes and tokens', async () => {
    const mad = await bind();
    mad.keep = 10_000;
    for (let process = 1; process <= 3000; process++) mad.send(attach({ process, token: randomBytes(16) }));
    await until(
      () => mad.frames.filter(({ type }) => type === FrameType.REFUSED).length === 3000,
      'all are refused',
    );
    const codes = new Set(
      mad.frames.filter(({ type }) => type === FrameType.REFUSED).map((f) => decodeFailure(f.payload).code),
    );
    expect([...codes].sort()).toEqual([Code.not_found, Code.permission_denied]);
  });

  test('frames of a process that it is not attached to are dropped', async () => {
    const mad = await bind();
    mad.send(
      stream(FrameType.DATA, 1, { payload: Buffer.from('not yours') }),
      stream(FrameType.DATA, 0, { payload: Buffer.from([1, 0, 9, 0, 0, 0, 0, 0]) }),
      stream(FrameType.EOF, 1, { offset: 0 }),
      stream(FrameType.STOP, 2),
      stream(FrameType.WINDOW, 2, { payload: encodeWindow(1) }),
    );
    await echoWorks();
  });
});

describe('floods', () => {
  test('requests that are cancelled at once', async () => {
    const mad = await bind();
    const bytes: Buffer[] = [];
    for (let id = 1; id <= 5000; id++) {
      bytes.push(
        encodeFrame({
          type: FrameType.REQUEST,
          id,
          payload: request('WaitProcess', { payload: Buffer.from('\n\x04main') }),
        }),
      );
      bytes.push(encodeFrame({ type: FrameType.CANCEL, id }));
    }
    await mad.flood(Buffer.concat(bytes), 1);
    const answer = (await sandbox.details()).sandboxId;
    expect(answer).toBe(sandbox.id);
  });

  test('large requests that are never finished are refused, others go on', async () => {
    const mad = await bind();
    const unfinished = Buffer.alloc(MAX_MESSAGE_BYTES);
    for (let id = 1; id <= 20; id++) {
      const frames = encodeMessage(FrameType.REQUEST, id, unfinished);
      await mad.flood(Buffer.concat(frames.slice(0, -1)), 1);
    }
    const [last] = encodeMessage(FrameType.REQUEST, 20, Buffer.alloc(10));
    mad.socket.write(last as Buffer);
    const answer = await mad.got(FrameType.RESPONSE, ({ id }) => id === 20);
    expect(error(answer.payload)).toMatchObject({ code: Code.resource_exhausted });
  });

  test('a request that is no message is answered', async () => {
    const mad = await bind();
    mad.send({ type: FrameType.REQUEST, id: 3, payload: Buffer.alloc(100, 0xff) });
    const answer = await mad.got(FrameType.RESPONSE);
    expect(error(answer.payload)).toMatchObject({ code: Code.invalid_argument });
  });

  test('millions of small control frames', async () => {
    const mad = await bind();
    const frame = encodeFrame({ type: FrameType.CANCEL, id: 12345 });
    await mad.flood(Buffer.concat(Array.from({ length: 10_000 }, () => frame)), 100);
    await echoWorks();
  });

  test('answers that it does not read', async () => {
    const mad = await bind();
    mad.socket.pause();
    // Each is answered with the same text: what waits for the client grows until it is cut off or the flood ends.
    const bad = encodeFrame({ type: FrameType.REQUEST, id: 1, payload: Buffer.alloc(100, 0xff) });
    const cancel = encodeFrame({ type: FrameType.CANCEL, id: 1 });
    await mad.flood(Buffer.concat(Array.from({ length: 1000 }, () => [bad, cancel]).flat()), 50);
  });

  test('clients that die in the middle of a frame', async () => {
    for (let i = 0; i < 50; i++) {
      const mad = await bind();
      mad.socket.write(
        encodeFrame({ type: FrameType.REQUEST, id: 1, flags: MORE, payload: Buffer.alloc(30_000) }),
      );
      mad.socket.write(encodeFrame(attach()).subarray(0, 40), () => mad.socket.destroy());
    }
    await echoWorks();
  });
});

describe('who may connect', () => {
  test('more than there is room for: the silent ones go, and who finds no room is told why', async () => {
    // 300 descriptors leave room for 44 clients.
    const small = await ProxyDaemon.start({
      args: ['--log-level', 'error'],
      wrap: ['prlimit', '--nofile=300:300'],
    });
    const quiet = await Neighbour.start(small);
    try {
      const silent = Array.from({ length: 400 }, () => connectRaw(small.socket));
      peers.push(...silent);
      await until(
        () => silent.filter((peer) => peer.ended || peer.farewell).length >= 350,
        'the oldest are cut off',
      );
      // Silence keeps nobody out.
      const bound = [];
      for (let i = 0; i < 43; i++) bound.push(await bindRaw(small.socket, 'neighbour'));
      peers.push(...bound);
      // Those that are bound stay; the one that is too many is told so, whatever it still sends.
      await expect(bindRaw(small.socket, 'neighbour')).rejects.toThrow(/44 clients already/);
      const late = connectRaw(small.socket);
      peers.push(late);
      late.socket.write(Buffer.alloc(2 * MiB));
      expect(await late.goAway()).toMatchObject({
        code: Code.resource_exhausted,
        message: expect.stringMatching(/44 clients already/),
      });
      expect(bound.every(({ ended }) => !ended)).toBe(true);
      bound[0]?.socket.destroy();
      await quiet.more();
      peers.push(await bindAgain(small));
    } finally {
      quiet.stop();
      await small.stop();
    }
  });

  /** The place that was left is free when the proxy has heard of it. */
  async function bindAgain(proxy: ProxyDaemon): Promise<RawPeer> {
    let last: RawPeer | undefined;
    await until(async () => {
      last = await bindRaw(proxy.socket, 'neighbour').catch(() => undefined);
      return last !== undefined;
    }, 'there is room again');
    return last as RawPeer;
  }

  test('another uid is refused, also when the socket is open to all', async () => {
    chmodSync(place.directory, 0o755);
    chmodSync(daemon.socket, 0o666);
    try {
      const asNobody = await connectAs(65534);
      // Connected, which the socket's mode allows, and closed at once: not even the preamble was answered.
      expect(asNobody).toEqual({ connected: true, bytes: 0, ended: true });
      expect(await connectAs(0)).toMatchObject({ connected: true, bytes: 64 });
      expect(daemon.log).toMatch(/of uid 65534 may not use this proxy/);
    } finally {
      chmodSync(daemon.socket, 0o600);
    }
  });

  /** Greets as a program of this uid. */
  async function connectAs(uid: number): Promise<unknown> {
    // It becomes that user by itself: the checkout with our Node may be where only root comes.
    const script = `
      process.setgid(${uid});
      process.setuid(${uid});
      const socket = require('node:net').connect(process.argv[1]);
      const seen = { connected: false, bytes: 0, ended: false };
      const done = () => { console.log(JSON.stringify(seen)); process.exit(); };
      socket.on('connect', () => { seen.connected = true; socket.write(Buffer.from(process.argv[2], 'hex')); });
      socket.on('data', (chunk) => { seen.bytes += chunk.length; done(); });
      socket.on('error', () => { seen.ended = true; });
      socket.on('close', () => { seen.ended = true; done(); });`;
    const child = spawn(process.execPath, ['-e', script, daemon.socket, PREAMBLE.toString('hex')], {
      cwd: '/',
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let output = '';
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk;
    });
    await once(child, 'close');
    return JSON.parse(output);
  }
});
