/** Links that are still being dialled: clients wait for them, and only as long as there are some. */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import net, { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { writeLinkRecord } from '@coracle/sys';
import { Connection, FrameType, Role, RpcError } from '@coracle/wire';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { ProxyServer } from './proxy-server.ts';

let folder: string;
let proxy: ProxyServer;
/** Commands that the VMM was given. */
let dialled: string[];
/** Whether somebody listens in the guest. */
let listening: boolean;
const closers: (() => void)[] = [];

beforeEach(async () => {
  folder = mkdtempSync(path.join(tmpdir(), 'coracle-dial-'));
  const sandbox = path.join(folder, 's');
  mkdirSync(sandbox);
  dialled = [];
  listening = false;
  const vmm = createServer((socket) => {
    closers.push(() => socket.destroy());
    socket.on('error', () => undefined);
    socket.once('data', (command) => {
      dialled.push(String(command));
      if (!listening) {
        socket.destroy();
        return;
      }
      socket.write('OK 1073741824\n');
      new Connection(
        socket,
        { role: Role.agent, opener: false },
        { open: () => undefined, frame: () => undefined, closed: () => undefined },
      );
    });
  });
  closers.push(() => vmm.close());
  const address = { kind: 'hybrid', path: path.join(sandbox, 'vsock.sock'), port: 1024 } as const;
  vmm.listen(address.path);
  await once(vmm, 'listening');
  writeLinkRecord(sandbox, { address });
  proxy = new ProxyServer({ sandboxes: folder });
  await proxy.listen(path.join(folder, 'proxy.sock'));
});

afterEach(async () => {
  for (const close of closers.splice(0)) close();
  await proxy.close();
  rmSync(folder, { recursive: true });
});

function client(): { connection: Connection; frames: FrameType[] } {
  const frames: FrameType[] = [];
  const connection: Connection = new Connection(
    net.connect(path.join(folder, 'proxy.sock')),
    { role: Role.client, opener: true },
    {
      open: () => connection.send({ type: FrameType.BIND, payload: Buffer.from('s') }),
      frame: (frame) => void frames.push(frame.type),
      closed: () => undefined,
    },
  );
  closers.push(() => connection.close(new RpcError('cancelled', 'the test ends')));
  return { connection, frames };
}

test('clients of a guest that boots are bound once it listens, by one link', async () => {
  const clients = [client(), client()];
  await vi.waitFor(() => expect(dialled.length).toBeGreaterThan(2));
  expect(proxy.counters()).toMatchObject({ clients: 2, links: 1 });
  listening = true;
  await vi.waitFor(() =>
    expect(clients.map(({ frames }) => frames)).toEqual([[FrameType.BOUND], [FrameType.BOUND]]),
  );
  expect(dialled.at(-1)).toBe('CONNECT 1024\n');
});

// Without an end, a proxy would dial a guest that never came up until the host was switched off.
test('when the last client has gone nobody dials on', async () => {
  const clients = [client(), client()];
  await vi.waitFor(() => expect(dialled.length).toBeGreaterThan(2));
  for (const { connection } of clients) connection.close(new RpcError('cancelled', 'given up'));
  await vi.waitFor(() => expect(proxy.counters()).toMatchObject({ clients: 0, links: 0 }));
  const before = dialled.length;
  listening = true;
  const { frames } = client();
  await vi.waitFor(() => expect(frames).toEqual([FrameType.BOUND]));
  // One dial for the new client; the old loop would have been there as well.
  expect(dialled.length).toBe(before + 1);
});
