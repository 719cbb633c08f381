/** What becomes of GOAWAY when the peer still sends: over real sockets, which are reset when closed with bytes unread. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';
import { Connection } from './connection.ts';
import { Decoder } from './decode.ts';
import { RpcError } from './errors.ts';
import { encodeFrame, type Frame, FrameType } from './frame.ts';
import { LINGER_BYTES, LINGER_MS, MAX_LINGERING } from './limits.ts';
import { decodeFailure } from './payloads.ts';
import { Role } from './preamble.ts';
import { preamble } from './testing/arbitraries.ts';

const MiB = 1024 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'coracle-linger-'));
const path = join(folder, 'socket');
const server = createServer();
const sockets: Socket[] = [];
const until = (check: () => void) => vi.waitFor(check, { timeout: 5000, interval: 1 });

beforeAll(() => new Promise<void>((resolve) => void server.listen(path, resolve)));
afterEach(async () => {
  // The count of those that linger is the process's.
  for (const socket of sockets.splice(0)) {
    socket.destroy();
    if (!socket.closed) await once(socket, 'close');
  }
});
afterAll(() => {
  server.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Peer {
  /** The raw end. */
  readonly near: Socket;
  /** The Connection's end of it. */
  readonly far: Socket;
  readonly answerer: Connection;
}

/** An answerer that has greeted, and at the other end a peer that reads nothing yet. */
async function greeted(): Promise<Peer> {
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const near = connect(path);
  const [far] = await accepted;
  sockets.push(near, far);
  near.on('error', () => undefined);
  const answerer = new Connection(
    far,
    { role: Role.proxy, opener: false },
    { open: () => undefined, frame: () => undefined, closed: () => undefined },
  );
  near.write(preamble());
  await until(() => expect(answerer.isOpen).toBe(true));
  return { near, far, answerer };
}

/** Reads all that comes to its end. @returns what GOAWAY said, and how the socket ended */
async function readAll(near: Socket): Promise<{ message: string | undefined; error: unknown }> {
  const frames: Frame[] = [];
  let error: unknown;
  const decoder = new Decoder(
    { preamble: () => true, frame: (frame) => frames.push(frame) },
    { resynchronise: false },
  );
  near.on('data', (chunk: Buffer) => decoder.push(chunk));
  near.on('error', (reason: NodeJS.ErrnoException) => {
    error = reason.code;
  });
  if (!near.closed) await once(near, 'close');
  const last = frames.at(-1);
  return {
    message: last?.type === FrameType.GOAWAY ? decodeFailure(last.payload).message : undefined,
    error,
  };
}

it('a peer that writes two more megabytes before it reads hears why it was closed', async () => {
  const { near } = await greeted();
  const broken = encodeFrame({ type: FrameType.STOP, id: 5 });
  broken[4] = 0x7f;
  near.write(broken);
  // More than both sockets' buffers take: this completes only while the other side reads on.
  await new Promise((resolve) => near.write(Buffer.alloc(2 * MiB, 0x55), resolve));
  expect(await readAll(near)).toEqual({
    message: 'protocol violation: unknown frame type 0x7f',
    error: undefined,
  });
});

it('a peer whose reading had been paused hears it too', async () => {
  const { near, far, answerer } = await greeted();
  near.write(Buffer.alloc(2 * MiB));
  far.pause();
  answerer.close(new RpcError('aborted', 'come again'));
  expect(await readAll(near)).toEqual({ message: 'come again', error: undefined });
});

it('a peer that never stops is cut off after 4 MiB', async () => {
  const { near, far, answerer } = await greeted();
  const before = far.bytesRead;
  answerer.close(new RpcError('aborted', 'enough'));
  const flood = (): void => {
    while (near.writable && near.write(Buffer.alloc(64 * 1024)));
  };
  near.on('drain', flood);
  flood();
  await until(() => expect(far.destroyed && near.destroyed).toBe(true));
  // One read more at most.
  expect(far.bytesRead - before).toBeGreaterThanOrEqual(LINGER_BYTES);
  expect(far.bytesRead - before).toBeLessThan(LINGER_BYTES + MiB);
});

it('a silent peer that stays is cut off after a second, and no timer outlives a peer that closes', async () => {
  const timeouts = { toFake: ['setTimeout', 'clearTimeout'] as ('setTimeout' | 'clearTimeout')[] };
  const [silent, sane] = [await greeted(), await greeted()];
  vi.useFakeTimers(timeouts);
  try {
    silent.answerer.close(new RpcError('aborted', 'enough'));
    sane.answerer.close(new RpcError('aborted', 'enough'));
    expect(vi.getTimerCount()).toBe(2);
    sane.near.resume();
    await once(sane.far, 'close');
    expect(vi.getTimerCount()).toBe(1);
    if (!silent.far.writableFinished) await once(silent.far, 'finish');
    expect(silent.far.destroyed).toBe(false);
    vi.advanceTimersByTime(LINGER_MS);
    expect(silent.far.destroyed).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  } finally {
    vi.useRealTimers();
  }
});

it('at most 64 linger: those that break the rules by the thousand do not use up the descriptors', async () => {
  const peers: Peer[] = [];
  for (let i = 0; i <= MAX_LINGERING; i++) peers.push(await greeted());
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
  try {
    for (const { answerer } of peers) answerer.close(new RpcError('aborted', 'enough'));
    const last = peers.at(-1) as Peer;
    await once(last.far, 'close');
    expect(peers.filter(({ far }) => far.destroyed).length).toBe(1);
  } finally {
    vi.useRealTimers();
  }
});

it('a program that has nothing else to do ends, though its peer does not', async () => {
  const accepted = once(server, 'connection') as Promise<[Socket]>;
  const script = `
    const { connect } = await import('node:net');
    const { Connection, RpcError } = await import(${JSON.stringify(new URL('./index.ts', import.meta.url).href)});
    const socket = connect(${JSON.stringify(path)});
    const connection = new Connection(socket, { role: 1, opener: true }, {
      open: () => connection.close(new RpcError('aborted', 'done')),
      frame: () => undefined,
      closed: () => undefined,
    });
    process.on('exit', () => console.log(socket.writableFinished, socket.destroyed));`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [far] = await accepted;
  sockets.push(far);
  let said = '';
  child.stdout.on('data', (chunk: Buffer) => {
    said += chunk;
  });
  const answerer = new Connection(
    far,
    { role: Role.proxy, opener: false, manualReceive: true },
    { open: () => undefined, frame: () => undefined, closed: () => undefined },
  );
  far.once('data', (chunk: Buffer) => {
    answerer.receive(chunk);
    far.pause();
  });
  const [code] = await once(child, 'close');
  expect([code, far.destroyed]).toEqual([0, false]);
  // It has not waited for the second to pass.
  expect(said).toBe('true false\n');
});
