/**
 * Guards a link that stays silent for ever: QEMU may keep a virtio-serial port throttled for the host that comes after
 * one that was killed, and ends that only when a host leaves. Here a unix socket stands for QEMU's end of the port.
 */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import net, { type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { accept, close, connectUnix, listenUnix } from '@coracle/sys';
import { Connection, FrameType, Role, RpcError } from '@coracle/wire';
import { expect, onTestFinished, test, vi } from 'vitest';
import { dialLink } from './dial.ts';
import { ASK_AGAIN_AT_FIRST_MS } from './limits.ts';
import { ProxyServer } from './proxy-server.ts';

const patience = { timeout: 4 * ASK_AGAIN_AT_FIRST_MS, interval: 10 };

/** @param answers whether the port's end answers its n-th host, from 1 */
async function start(answers: (host: number) => boolean) {
  const folder = mkdtempSync(path.join(tmpdir(), 'coracle-again-'));
  const sandbox = path.join(folder, 's');
  mkdirSync(sandbox);
  const hosts: Socket[] = [];
  const left: number[] = [];
  const port = net.createServer((socket) => {
    const host = hosts.push(socket);
    socket.on('error', () => undefined);
    socket.on('close', () => left.push(host));
    socket.resume();
    if (!answers(host)) return;
    new Connection(
      socket,
      { role: Role.agent, opener: false },
      { open: () => undefined, frame: () => undefined, closed: () => undefined },
    );
  });
  port.listen(path.join(sandbox, 'link.sock'));
  await once(port, 'listening');
  const proxy = new ProxyServer({ sandboxes: folder });
  await proxy.listen(path.join(folder, 'proxy.sock'));
  const told: string[] = [];
  const frames: FrameType[] = [];
  const client: Connection = new Connection(
    net.connect(path.join(folder, 'proxy.sock')),
    { role: Role.client, opener: true },
    {
      open: () => client.send({ type: FrameType.BIND, payload: Buffer.from('s') }),
      frame: (frame) => void frames.push(frame.type),
      closed: (reason) => void told.push(reason.code),
    },
  );
  const leave = (): void => client.close(new RpcError('cancelled', 'the test ends'));
  onTestFinished(async () => {
    leave();
    await proxy.close();
    for (const socket of hosts) socket.destroy();
    port.close();
    rmSync(folder, { recursive: true });
  });
  return { proxy, hosts, left, frames, told, leave };
}

test('a port that does not answer is connected to anew, and its clients notice nothing', async () => {
  const { hosts, left, frames, told } = await start((host) => host === 2);
  await vi.waitFor(() => expect(frames).toEqual([FrameType.BOUND]), patience);
  expect(hosts.length).toBe(2);
  expect(left).toEqual([1]);
  expect(told).toEqual([]);
});

test('nobody is asked again for a client that has gone', async () => {
  const { proxy, hosts, leave } = await start(() => false);
  await vi.waitFor(() => expect(hosts.length).toBe(1), patience);
  leave();
  await vi.waitFor(() => expect(proxy.counters()).toMatchObject({ clients: 0, links: 0 }), patience);
  expect(hosts.length).toBe(1);
});

// QEMU listens with a queue of one; asked again and again while it is stopped, that queue is full.
test('a port with a full queue of hosts is dialled until there is room', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'coracle-again-'));
  const socketPath = path.join(folder, 'link.sock');
  const listener = listenUnix(socketPath);
  const waiting: number[] = [];
  onTestFinished(() => {
    for (const fd of [listener, ...waiting]) close(fd);
    rmSync(folder, { recursive: true });
  });
  expect(() => {
    for (;;) waiting.push(connectUnix(socketPath));
  }).toThrow('EAGAIN');
  // connect(2) is called before this returns.
  const dialling = dialLink('s', folder, AbortSignal.timeout(10_000));
  for (const _ of waiting.slice()) waiting.push(accept(listener) as number);
  (await dialling).socket.destroy();
});
