/** AF_VSOCK as it is: what packages/sys relies on, over a real loopback. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import {
  close,
  connectVsock,
  openStream,
  read,
  VSOCK_CID_ANY,
  VSOCK_CID_LOCAL,
  VSOCK_PORT_ANY,
  type VsockAddress,
  type VsockConnectOptions,
  VsockListener,
  vsockName,
  write,
} from '@coracle/sys';
import { expect, onTestFinished, test } from 'vitest';
import { until } from '../support/wait.ts';

interface Pair {
  readonly left: number;
  readonly right: number;
  readonly peer: VsockAddress;
}

async function pair(options: VsockConnectOptions = {}): Promise<Pair> {
  const taken: { fd: number; peer: VsockAddress }[] = [];
  using listener = new VsockListener({ cid: VSOCK_CID_ANY, port: VSOCK_PORT_ANY }, (fd, peer) =>
    taken.push({ fd, peer }),
  );
  const left = await connectVsock({ cid: VSOCK_CID_LOCAL, port: listener.port }, options);
  await until(() => taken.length > 0, 'the connection is accepted');
  const { fd, peer } = taken[0]!;
  return { left, right: fd, peer };
}

const streams = async (): Promise<[Socket, Socket]> => {
  const { left, right } = await pair();
  const both: [Socket, Socket] = [openStream(left), openStream(right)];
  onTestFinished(() => both.forEach((socket) => void socket.destroy()));
  return both;
};

test('the listener sees who connects; a reserved port is one on request', async () => {
  const plain = await pair();
  expect(plain.peer.cid).toBe(VSOCK_CID_LOCAL);
  expect(plain.peer.port).toBeGreaterThan(1023);
  const reserved = await pair({ reservedPort: true });
  expect(reserved.peer.port).toBeLessThanOrEqual(1023);
  expect(vsockName(reserved.left).port).toBe(reserved.peer.port);
  for (const { left, right } of [plain, reserved]) [left, right].forEach(close);
});

test('two connections at a time come from two reserved ports', async () => {
  const pairs = await Promise.all(Array.from({ length: 20 }, () => pair({ reservedPort: true })));
  expect(new Set(pairs.map(({ peer }) => peer.port)).size).toBe(20);
  for (const { left, right } of pairs) [left, right].forEach(close);
});

test('16 MiB pass both ways at once, whole, through net.Socket', async () => {
  const [left, right] = await streams();
  const [toRight, toLeft] = [1, 2].map((seed) =>
    Buffer.alloc(16 << 20, Buffer.from([seed, 7, 11, 13, 17, 19, 23])),
  );
  left.end(toRight as Buffer);
  right.end(toLeft as Buffer);
  const [atLeft, atRight] = await Promise.all([received(left), received(right)]);
  expect(atRight.equals(toRight as Buffer)).toBe(true);
  expect(atLeft.equals(toLeft as Buffer)).toBe(true);
});

/** Not by `stream/consumers`: those destroy a socket at its end of file, with what it has yet to send. */
async function received(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'end');
  return Buffer.concat(chunks);
}

test('a writer that nobody reads is told to wait, and goes on after that', async () => {
  const { left, right } = await pair();
  const piece = Buffer.alloc(64 * 1024, 'x');
  let taken = 0;
  for (;;) {
    const count = write(left, piece);
    if (count === 'again') break;
    taken += count;
    expect(taken).toBeLessThan(64 << 20);
  }
  const into = Buffer.alloc(1 << 20);
  let got = 0;
  while (got < taken) {
    const count = read(right, into);
    expect(count).not.toBe('eof');
    if (typeof count === 'number') got += count;
  }
  expect(read(right, into)).toBe('again');
  await until(() => write(left, piece) !== 'again', 'there is room again');
  [left, right].forEach(close);
});

test('half a connection may end: the other half still carries the answer', async () => {
  const [left, right] = await streams();
  left.end('question');
  expect(String(await received(right))).toBe('question');
  right.end('answer');
  expect(String(await received(left))).toBe('answer');
});

test('a peer that is gone is seen: by its end, and by what cannot be written', async () => {
  const { left, right } = await pair();
  const socket = openStream(left, { allowHalfOpen: false });
  const failed = once(socket, 'close');
  socket.on('error', () => undefined).resume();
  close(right);
  await failed;
  expect(socket.destroyed).toBe(true);
});

// That is how a killed proxy is seen by the agent: unread bytes make it a reset.
test('a peer that leaves with bytes unread resets the connection or ends it', async () => {
  const { left, right } = await pair();
  expect(write(left, Buffer.from('unread'))).toBe(6);
  const socket = openStream(left, { allowHalfOpen: false });
  socket.on('error', () => undefined).resume();
  close(right);
  await once(socket, 'close');
});

test('nobody on the port, no such machine, and somebody who gives up', async () => {
  // Not a port beside one of ours: the kernel numbers upwards, and the socket that connects might find itself.
  const { port } = (() => {
    using listener = new VsockListener({ cid: VSOCK_CID_ANY, port: VSOCK_PORT_ANY }, (fd) => close(fd));
    return { port: listener.port };
  })();
  await expect(connectVsock({ cid: VSOCK_CID_LOCAL, port })).rejects.toMatchObject({ code: 'ECONNRESET' });
  // This guest has no device that would lead to another machine.
  await expect(connectVsock({ cid: 4711, port })).rejects.toMatchObject({ code: 'ENODEV' });
  const reason = new Error('enough');
  await expect(
    connectVsock({ cid: VSOCK_CID_LOCAL, port }, { signal: AbortSignal.abort(reason) }),
  ).rejects.toBe(reason);
});

test('a port is taken once', async () => {
  using first = new VsockListener({ cid: VSOCK_CID_ANY, port: VSOCK_PORT_ANY }, (fd) => close(fd));
  const { port } = first;
  expect(() => new VsockListener({ cid: VSOCK_CID_ANY, port }, (fd) => close(fd))).toThrow(
    expect.objectContaining({ code: 'EADDRINUSE' }),
  );
});
