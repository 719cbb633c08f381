/** Hybrid vsock against a scripted VMM: what is said before the link begins. Whole links are in test/local/transports.test.ts. */
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net, { type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { writeLinkRecord } from '@coracle/sys';
import { identify } from '@coracle/sys/identity';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { dialLink } from './dial.ts';
import { acceptHybrid, connectHybrid } from './hybrid.ts';

let folder: string;
let at: { path: string; port: number };
const closers: (() => void)[] = [];
const never = new AbortController().signal;

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'coracle-hybrid-'));
  at = { path: path.join(folder, 'vsock.sock'), port: 1024 };
});
afterEach(() => {
  for (const close of closers.splice(0)) close();
  rmSync(folder, { recursive: true });
});

/** Answers each CONNECT with these pieces, and ends the connection when told to. */
async function startVmm(
  pieces: readonly string[],
  end = false,
): Promise<{ server: Server; said: string[]; sockets: Socket[] }> {
  const said: string[] = [];
  const sockets: Socket[] = [];
  const server = net.createServer((socket) => {
    sockets.push(socket);
    closers.push(() => socket.destroy());
    socket.on('error', () => undefined);
    socket.once('data', async (chunk) => {
      said.push(String(chunk));
      for (const piece of pieces) await new Promise((resolve) => socket.write(piece, resolve));
      if (end) socket.end();
    });
  });
  closers.push(() => server.close());
  server.listen(at.path);
  await once(server, 'listening');
  return { server, said, sockets };
}

describe('the host connects', () => {
  test.each([
    ['in one piece', ['OK 1073741824\nfirst bytes']],
    ['cut anywhere', ['O', 'K 10737', '41824', '\n', 'first ', 'bytes']],
  ])('an answer %s is taken off, and what follows is left to be read', async (_, pieces) => {
    const { said } = await startVmm(pieces, true);
    const socket = await connectHybrid(at, never);
    let read = '';
    socket.setEncoding('latin1').on('data', (text: string) => {
      read += text;
    });
    socket.resume();
    await once(socket, 'end');
    expect([said, read]).toEqual([['CONNECT 1024\n'], 'first bytes']);
  });

  test.each([
    ['another word', ['NO 5\n']],
    ['no number', ['OK x\n']],
    ['more than an answer', ['O'.repeat(14)]],
  ])('%s is refused', async (_, pieces) => {
    await startVmm(pieces);
    await expect(connectHybrid(at, never)).rejects.toThrow(/answered CONNECT with .*: it is no hybrid vsock/);
  });

  test('a VMM that closes means that nobody listens in its guest: come again', async () => {
    await startVmm([], true);
    await expect(connectHybrid(at, never)).rejects.toMatchObject({ code: 'ECONNRESET' });
  });

  test('whoever gives up while the VMM is silent leaves nothing', async () => {
    const { sockets } = await startVmm([]);
    const giveUp = new AbortController();
    const reason = new Error('enough');
    const connecting = connectHybrid(at, giveUp.signal);
    await vi.waitFor(() => expect(sockets).toHaveLength(1));
    const closed = once(sockets[0] as Socket, 'close');
    giveUp.abort(reason);
    await expect(connecting).rejects.toBe(reason);
    await closed;
  });
});

describe('the guest connects', () => {
  const guest = (): Socket => {
    const socket = net.connect(`${at.path}_1024`);
    socket.on('error', () => undefined);
    closers.push(() => socket.destroy());
    return socket;
  };
  const listening = () => vi.waitFor(() => expect(existsSync(`${at.path}_1024`)).toBe(true));

  test('the first to come is the link, the socket file is gone then', async () => {
    const { sockets } = await startVmm([]);
    const accepting = acceptHybrid(at, never);
    await listening();
    guest().write('hello');
    const socket = await accepting;
    closers.push(() => socket.destroy());
    const bytes = once(socket, 'data');
    socket.resume();
    expect(String((await bytes)[0])).toBe('hello');
    expect(existsSync(`${at.path}_1024`)).toBe(false);
    // The connection that showed that the VMM lives is no longer needed.
    await vi.waitFor(() => expect(sockets[0]?.destroyed).toBe(true));
  });

  test('a socket that a killed proxy has left is replaced', async () => {
    await startVmm([]);
    writeFileSync(`${at.path}_1024`, '');
    const accepting = acceptHybrid(at, never);
    await vi.waitFor(async () => {
      const socket = guest();
      await once(socket, 'connect');
    });
    closers.push(
      (
        (socket: Socket) => () =>
          socket.destroy()
      )(await accepting),
    );
  });

  test('a VMM that ends while its guest is awaited is seen', async () => {
    const { sockets } = await startVmm([]);
    const accepting = acceptHybrid(at, never);
    await vi.waitFor(() => expect(sockets).toHaveLength(1));
    sockets[0]?.destroy();
    await expect(accepting).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(existsSync(`${at.path}_1024`)).toBe(false);
  });
});

describe('dialling', () => {
  test('goes on while nobody listens in the guest, and is told when the VM is gone', async () => {
    const vmm = await startVmm([], true);
    writeLinkRecord(folder, { address: { kind: 'hybrid', ...at } });
    const dialling = dialLink('s', folder, never);
    await vi.waitFor(() => expect(vmm.said.length).toBeGreaterThan(3));
    vmm.server.close();
    await expect(dialling).rejects.toMatchObject({
      code: expect.stringMatching(/^(not_found|unavailable)$/),
      reason: expect.stringContaining('sandbox s'),
    });
  });

  test('a process that has ended is a VM that is gone, whatever the socket says', async () => {
    await startVmm(['OK 1\n']);
    const process = { pid: 1, startTicks: -1 };
    expect(identify(1)).not.toEqual(process);
    writeLinkRecord(folder, { address: { kind: 'hybrid', ...at }, process });
    await expect(dialLink('s', folder, never)).rejects.toMatchObject({
      code: 'unavailable',
      reason: 'the VM of sandbox s is gone: its process has ended',
    });
  });

  test('a record that makes no sense is final', async () => {
    writeFileSync(path.join(folder, 'link.json'), '{"version":1,"address":"vsock:2:1024"}');
    await expect(dialLink('s', folder, never)).rejects.toMatchObject({
      code: 'failed_precondition',
      reason: expect.stringContaining('is no link address'),
    });
  });

  test('is given up with the link', async () => {
    await startVmm([], true);
    writeLinkRecord(folder, { address: { kind: 'hybrid', ...at } });
    const giveUp = new AbortController();
    const dialling = dialLink('s', folder, giveUp.signal);
    const reason = new Error('nobody wants it');
    giveUp.abort(reason);
    await expect(dialling).rejects.toThrow();
  });
});
