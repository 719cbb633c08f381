/**
 * The switch alone, between scripted peers that speak the wire's own frames: what goes where, and whose
 * connection ends when somebody breaks the rules. Real agents and clients are in test/local and test/vm.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  Connection,
  decodeWindow,
  encodeFrame,
  encodePreamble,
  encodeWindow,
  type Frame,
  type FrameFields,
  FrameType,
  Role,
  type RpcError,
} from '@coracle/wire';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ProxyServer } from './proxy-server.ts';

let folder: string;
let proxy: ProxyServer;
const closers: (() => void)[] = [];

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'coracle-proxy-'));
  proxy = new ProxyServer({ sandboxes: folder });
  await proxy.listen(path.join(folder, 'proxy.sock'));
});

afterEach(async () => {
  for (const close of closers.splice(0)) close();
  await proxy.close();
  rmSync(folder, { recursive: true });
});

/** One end of a connection that notes what comes. */
class Peer {
  readonly frames: Frame[] = [];
  opened = 0;
  closed: RpcError | undefined;
  readonly connection: Connection;
  readonly socket: net.Socket;

  constructor(socket: net.Socket, role: Role, opener: boolean) {
    this.socket = socket;
    closers.push(() => socket.destroy());
    this.connection = new Connection(
      socket,
      { role, opener },
      {
        open: () => void this.opened++,
        frame: (frame) => void this.frames.push(frame),
        closed: (error) => {
          this.closed = error;
        },
      },
    );
  }
  send(fields: FrameFields): void {
    this.connection.send(fields);
  }
  async got(type: FrameType, count = 1): Promise<Frame> {
    await vi.waitFor(() => expect(this.frames.filter((frame) => frame.type === type)).toHaveLength(count));
    return this.frames.filter((frame) => frame.type === type)[count - 1] as Frame;
  }
  async closedWith(): Promise<RpcError> {
    await vi.waitFor(() => expect(this.closed).toBeDefined());
    return this.closed as RpcError;
  }
}

interface Agent {
  readonly peers: Peer[];
  readonly server: net.Server;
}

async function startAgent(id: string): Promise<Agent> {
  const agent: Agent = {
    peers: [],
    server: net.createServer((socket) => void agent.peers.push(new Peer(socket, Role.agent, false))),
  };
  mkdirSync(path.join(folder, id));
  await new Promise<void>((resolve) => agent.server.listen(path.join(folder, id, 'link.sock'), resolve));
  closers.push(() => agent.server.close());
  return agent;
}

async function connect(): Promise<Peer> {
  const peer = new Peer(net.connect(path.join(folder, 'proxy.sock')), Role.client, true);
  await vi.waitFor(() => expect(peer.opened).toBe(1));
  return peer;
}

async function bind(id: string): Promise<Peer> {
  const client = await connect();
  client.send({ type: FrameType.BIND, payload: Buffer.from(id) });
  await client.got(FrameType.BOUND);
  return client;
}

function only<T>(items: readonly T[]): T {
  expect(items).toHaveLength(1);
  return items[0] as T;
}

const attachPayload = Buffer.alloc(48);

/** The agent takes the attachment: only then does the proxy give the process to the client. */
function accept(link: Peer, attach: Frame): void {
  const { id, generation } = attach;
  link.send({ type: FrameType.ATTACHED, id, generation, payload: Buffer.alloc(48) });
}

test('all clients of a sandbox share one link, and requests come back to who asked', async () => {
  const agent = await startAgent('a');
  const [one, two] = [await bind('a'), await bind('a')];
  const link = only(agent.peers);
  // Both clients use the id 7; the agent must be able to tell them apart.
  one.send({ type: FrameType.REQUEST, id: 7, payload: Buffer.from('from one') });
  const first = await link.got(FrameType.REQUEST, 1);
  two.send({ type: FrameType.REQUEST, id: 7, payload: Buffer.from('from two') });
  const second = await link.got(FrameType.REQUEST, 2);
  expect(first.id).not.toBe(second.id);
  link.send({ type: FrameType.RESPONSE, id: second.id, payload: Buffer.from('to two') });
  link.send({ type: FrameType.RESPONSE, id: first.id, payload: Buffer.from('to one') });
  expect(await one.got(FrameType.RESPONSE)).toMatchObject({ id: 7, payload: Buffer.from('to one') });
  expect(await two.got(FrameType.RESPONSE)).toMatchObject({ id: 7, payload: Buffer.from('to two') });
});

test('frames of a process go to the client that attached last, and the former one is told', async () => {
  const agent = await startAgent('a');
  const [one, two] = [await bind('a'), await bind('a')];
  const link = only(agent.peers);
  one.send({ type: FrameType.ATTACH, id: 20, generation: 1, payload: attachPayload });
  accept(link, await link.got(FrameType.ATTACH, 1));
  link.send({ type: FrameType.DATA, id: 22, generation: 1, offset: 0, payload: Buffer.from('x') });
  await one.got(FrameType.DATA);
  two.send({ type: FrameType.ATTACH, id: 20, generation: 2, payload: attachPayload });
  accept(link, await link.got(FrameType.ATTACH, 2));
  expect((await one.got(FrameType.DETACHED)).id).toBe(20);
  link.send({ type: FrameType.WINDOW, id: 21, generation: 2, offset: 3, payload: encodeWindow(9) });
  const window = await two.got(FrameType.WINDOW);
  expect([window.offset, decodeWindow(window.payload)]).toEqual([3, 9]);
  // What the former owner still sends is dropped: the next frame that comes is the new owner's.
  one.send({ type: FrameType.DATA, id: 21, generation: 1, offset: 0, payload: Buffer.from('old') });
  one.send({ type: FrameType.REQUEST, id: 1, payload: Buffer.from('after it') });
  await link.got(FrameType.REQUEST);
  two.send({ type: FrameType.DATA, id: 21, generation: 2, offset: 0, payload: Buffer.from('new') });
  expect((await link.got(FrameType.DATA)).payload.toString()).toBe('new');
  expect(one.frames.filter((frame) => frame.type === FrameType.DATA)).toHaveLength(1);
});

test('a client that breaks the rules loses its connection and nobody else does', async () => {
  const agent = await startAgent('a');
  const [mad, sane] = [await bind('a'), await bind('a')];
  mad.send({ type: FrameType.RESPONSE, id: 1 });
  expect((await mad.closedWith()).message).toMatch(/RESPONSE from a client/);
  sane.send({ type: FrameType.REQUEST, id: 1 });
  await only(agent.peers).got(FrameType.REQUEST);
});

test('an agent that breaks the rules loses its link; other sandboxes go on', async () => {
  const [bad, good] = [await startAgent('bad'), await startAgent('good')];
  const [one, two] = [await bind('bad'), await bind('good')];
  only(bad.peers).send({ type: FrameType.REQUEST, id: 1 });
  expect(await one.closedWith()).toMatchObject({
    code: 'aborted',
    message: expect.stringMatching(/REQUEST from the agent/),
  });
  two.send({ type: FrameType.REQUEST, id: 1 });
  await only(good.peers).got(FrameType.REQUEST);
});

test('a link that ends asks its clients to come again; one whose VM is gone says so', async () => {
  const agent = await startAgent('a');
  const client = await bind('a');
  only(agent.peers).socket.destroy();
  expect(await client.closedWith()).toMatchObject({ code: 'aborted' });
  await bind('a');
  expect(agent.peers).toHaveLength(2);
  agent.server.close();
  (agent.peers[1] as Peer).socket.destroy();
  // Node removes the socket file when a server closes, a killed QEMU leaves it: both are told apart.
  const gone = await connect();
  gone.send({ type: FrameType.BIND, payload: Buffer.from('a') });
  expect(await gone.closedWith()).toMatchObject({ code: 'not_found' });
});

test.each([
  ['..', 'invalid_argument'],
  ['a/b', 'invalid_argument'],
  ['missing', 'not_found'],
])('BIND %j is refused with %s', async (id, code) => {
  const client = await connect();
  client.send({ type: FrameType.BIND, payload: Buffer.from(id) });
  expect(await client.closedWith()).toMatchObject({ code });
});

test('a client that leaves has its requests cancelled', async () => {
  const agent = await startAgent('a');
  const client = await bind('a');
  client.send({ type: FrameType.REQUEST, id: 1 });
  const request = await only(agent.peers).got(FrameType.REQUEST);
  client.socket.destroy();
  expect((await only(agent.peers).got(FrameType.CANCEL)).id).toBe(request.id);
});

test('a client that does not read is cut off before it costs more than its share', async () => {
  const agent = await startAgent('a');
  const client = await bind('a');
  client.send({ type: FrameType.ATTACH, id: 4, generation: 1, payload: attachPayload });
  const link = only(agent.peers);
  accept(link, await link.got(FrameType.ATTACH));
  client.socket.pause();
  const payload = Buffer.alloc(32_000);
  for (let at = 0; at < 40e6; at += payload.length)
    link.send({ type: FrameType.DATA, id: 6, generation: 1, offset: at, payload });
  await vi.waitFor(() => expect(proxy.idle).toBe(true), { timeout: 10_000 });
  await bind('a');
});

test('a second proxy on the same socket is refused; a killed one leaves nothing in the way', async () => {
  const second = new ProxyServer({ sandboxes: folder });
  await expect(second.listen(path.join(folder, 'proxy.sock'))).rejects.toMatchObject({
    code: 'already_exists',
  });
  const stale = net.createServer();
  const stalePath = path.join(folder, 'stale.sock');
  await new Promise<void>((resolve) => stale.listen(stalePath, resolve));
  await second.listen(stalePath);
  await second.close();
  stale.close();
});

test('when too much waits for guests in all, each client is held to its share, and all of it arrives', async () => {
  const limitBytes = 512 * 1024;
  const crowded = new ProxyServer({ sandboxes: folder, maxInboundBytes: limitBytes });
  const socketPath = path.join(folder, 'crowded.sock');
  await crowded.listen(socketPath);
  try {
    const agent = await startAgent('a');
    const clients: Peer[] = [];
    for (let p = 1; p <= 6; p++) {
      const client = new Peer(net.connect(socketPath), Role.client, true);
      await vi.waitFor(() => expect(client.opened).toBe(1));
      client.send({ type: FrameType.BIND, payload: Buffer.from('a') });
      await client.got(FrameType.BOUND);
      client.send({ type: FrameType.ATTACH, id: 4 * p, generation: 1, payload: attachPayload });
      accept(only(agent.peers), await only(agent.peers).got(FrameType.ATTACH, p));
      await client.got(FrameType.ATTACHED);
      clients.push(client);
    }
    const link = only(agent.peers);
    link.socket.pause();
    const payload = Buffer.alloc(32_000);
    for (const [i, client] of clients.entries())
      for (let offset = 0; offset < 64 * payload.length; offset += payload.length)
        client.send({ type: FrameType.DATA, id: 4 * i + 5, generation: 1, offset, payload });
    // All are held up: what waits stays the same, and everybody has more to send.
    let before = -1;
    await vi.waitFor(
      () => {
        const [last, now] = [before, crowded.counters().waitsForGuestsBytes];
        before = now;
        expect(clients.every(({ socket }) => socket.writableLength > 0)).toBe(true);
        expect(now).toBe(last);
      },
      { timeout: 10_000, interval: 50 },
    );
    expect(before).toBeGreaterThan(limitBytes);
    // Its share, and the read in which it was exceeded: 64 KiB each. Alone each could have 2 MiB waiting.
    expect(before).toBeLessThan(limitBytes + clients.length * 128 * 1024);
    link.socket.resume();
    const arrived = () => link.frames.filter(({ type }) => type === FrameType.DATA).length;
    await vi.waitFor(() => expect(arrived()).toBe(clients.length * 64), { timeout: 10_000 });
    expect(crowded.counters().waitsForGuestsBytes).toBe(0);
  } finally {
    await crowded.close();
  }
});

test('closing waits for nobody who was told why and stays', async () => {
  const socketPath = path.join(folder, 'other.sock');
  const other = new ProxyServer({ sandboxes: folder });
  await other.listen(socketPath);
  const mad = net.connect({ path: socketPath, allowHalfOpen: true });
  closers.push(() => mad.destroy());
  const zeros = Buffer.alloc(16);
  mad.write(
    encodePreamble({
      versionMin: 1,
      versionMax: 1,
      features: 0,
      epoch: zeros,
      echo: zeros,
      role: Role.client,
    }),
  );
  // GOAWAY and the end come; the other direction stays open.
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    mad.resume().write(encodeFrame({ type: FrameType.STOP, id: 6 }));
    await once(mad, 'end');
    expect(other.idle).toBe(true);
    // The second for which it would be read never passes here.
    await other.close();
  } finally {
    vi.useRealTimers();
  }
});
