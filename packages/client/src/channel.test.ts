import {
  decodeAttach,
  decodeControlRecords,
  encodeFailure,
  type Frame,
  FrameType,
  RpcError,
} from '@coracle/wire';
import { expect, onTestFinished, test } from 'vitest';
import type { ChannelOptions, ProcessHandle } from './channel.ts';
import { Session } from './session.ts';
import { ScriptedPeer } from './testing.ts';

const handle: ProcessHandle = {
  process: 5,
  token: Buffer.alloc(16, 7),
  terminal: false,
  stdin: true,
  pid: 9,
};
const aborted = new RpcError('aborted', 'the link has ended');

async function open(options: Partial<ChannelOptions> = {}) {
  const peer = new ScriptedPeer();
  await peer.listen();
  const session = new Session('box', { socketPath: peer.socketPath });
  onTestFinished(async () => {
    session.close();
    await peer[Symbol.asyncDispose]();
  });
  await session.bind();
  const channel = session.openChannel(handle, { stdout: 'pipe', stderr: 'pipe', sole: true, ...options });
  return { peer, session, channel };
}

async function read(stream: AsyncIterable<Buffer>): Promise<string> {
  let text = '';
  for await (const chunk of stream) text += chunk;
  return text;
}

test('attaches with the token and a fresh generation each time', async () => {
  const { peer } = await open();
  const first = await peer.attach();
  expect(first.id).toBe(20);
  expect(Buffer.from(decodeAttach(first.payload).token)).toEqual(Buffer.alloc(16, 7));
  peer.goAway(aborted);
  const second = await peer.attach();
  expect(second.generation).not.toBe(first.generation);
  expect(second.generation).not.toBe(0);
});

test('an exit that overtakes output is reported after the last byte', async () => {
  const { peer, channel } = await open();
  const attach = await peer.attach();
  let settled = false;
  channel.result.then(() => {
    settled = true;
  });
  peer.exit(attach, { stdoutFinal: 4, waitStatus: 3 << 8 });
  peer.stdout(attach, 0, Buffer.from('ab'));
  const reading = read(channel.stdout);
  await new Promise((resolve) => channel.stdout.once('readable', resolve));
  expect(settled).toBe(false);
  expect(channel.exited).toBe(true);
  peer.stdout(attach, 2, Buffer.from('cd'));
  expect(await channel.result).toMatchObject({ cause: 'exited', exitCode: 3 });
  expect(await reading).toBe('abcd');
  expect(await read(channel.stderr)).toBe('');
});

test('frames of another generation are ignored', async () => {
  const { peer, channel } = await open();
  const attach = await peer.attach();
  peer.exit({ ...attach, generation: (attach.generation ^ 1) >>> 0 }, { waitStatus: 9 });
  peer.exit(attach, { waitStatus: 1 << 8 });
  expect(await channel.result).toMatchObject({ exitCode: 1 });
});

test('output goes on where it was after a lost connection, and what comes twice counts once', async () => {
  const { peer, channel } = await open();
  const first = await peer.attach();
  peer.stdout(first, 0, Buffer.from('hello '));
  await new Promise((resolve) => channel.stdout.once('readable', resolve));
  peer.goAway(aborted);
  const second = await peer.attach({ stdoutStart: 6 });
  const { delivered } = decodeAttach(second.payload).stdout;
  expect(delivered).toBe(6);
  peer.stdout(second, 4, Buffer.from('o wor'));
  peer.stdout(second, 9, Buffer.from('ld'));
  peer.exit(second, { stdoutFinal: 11 });
  expect(await read(channel.stdout)).toBe('hello world');
});

test('a gap in the output of a process that is ours alone is data_loss', async () => {
  const { peer, channel } = await open();
  await peer.attach({ stdoutStart: 10 });
  await expect(channel.result).rejects.toMatchObject({ code: 'data_loss' });
  await expect(read(channel.stdout)).rejects.toMatchObject({ code: 'data_loss' });
});

// Two clients that had attached in turn came back at the same time: the one that found a gap closed its streams,
// which stopped the output that the other one was reading, and ended the stdin it was writing.
test('a channel that has failed neither stops the output nor ends the stdin of its process', async () => {
  const { peer, session, channel } = await open();
  channel.stdin.write('in');
  await peer.attach({ stdoutStart: 10 });
  await expect(channel.result).rejects.toMatchObject({ code: 'data_loss' });
  await expect(read(channel.stdout)).rejects.toMatchObject({ code: 'data_loss' });
  const call = session.call('startContainer', { containerId: 'later' });
  call.catch(() => undefined);
  await peer.nextRequest();
  expect([FrameType.STOP, FrameType.EOF].filter((type) => peer.has(type))).toEqual([]);
});

test('a process that another client had before goes on where that one stood', async () => {
  const { peer, channel } = await open({ sole: false });
  const attach = await peer.attach({ stdoutStart: 10, stdin: { delivered: 3, limit: 1024 } });
  peer.stdout(attach, 10, Buffer.from('rest'));
  channel.stdin.end('in');
  expect((await peer.next(FrameType.DATA)).offset).toBe(3);
  expect((await peer.next(FrameType.EOF)).offset).toBe(5);
  peer.exit(attach, { stdoutFinal: 14 });
  expect(await read(channel.stdout)).toBe('rest');
});

test('stdin is sent again from where the agent stands, then the end of file', async () => {
  const { peer, channel } = await open();
  await peer.attach();
  channel.stdin.end('abcdef');
  expect((await peer.next(FrameType.DATA)).payload.toString()).toBe('abcdef');
  await peer.next(FrameType.EOF);
  peer.goAway(aborted);
  await peer.attach({ stdin: { delivered: 2, limit: 1024 } });
  const again = await peer.next(FrameType.DATA);
  expect([again.offset, again.payload.toString()]).toEqual([2, 'cdef']);
  expect((await peer.next(FrameType.EOF)).offset).toBe(6);
});

test('stdin waits for credit', async () => {
  const { peer, channel } = await open();
  const attach = await peer.attach({ stdin: { delivered: 0, limit: 3 } });
  channel.stdin.end('abcdef');
  expect((await peer.next(FrameType.DATA)).payload.toString()).toBe('abc');
  const limit = Buffer.alloc(8);
  limit.writeUInt32LE(6);
  peer.send({ type: FrameType.WINDOW, id: 21, generation: attach.generation, offset: 3, payload: limit });
  expect((await peer.next(FrameType.DATA)).payload.toString()).toBe('def');
});

test('signals and sizes arrive in order; of sizes that wait only the last', async () => {
  const { peer, channel } = await open();
  channel.control({ kind: 'signal', signal: 10 });
  channel.control({ kind: 'resize', columns: 1, rows: 1 });
  channel.control({ kind: 'resize', columns: 80, rows: 24 });
  channel.control({ kind: 'signal', signal: 12 });
  await peer.attach();
  const sent = await peer.next(FrameType.DATA);
  expect(sent.id).toBe(20);
  expect(decodeControlRecords(sent.payload)).toEqual([
    { kind: 'signal', signal: 10 },
    { kind: 'resize', columns: 80, rows: 24 },
    { kind: 'signal', signal: 12 },
  ]);
});

test('a thousand signals wait for credit, and more than thousands are refused', async () => {
  const { peer, channel } = await open();
  for (let i = 0; i < 4096; i++) channel.control({ kind: 'signal', signal: 10 });
  expect(() => channel.control({ kind: 'signal', signal: 10 })).toThrow(/wait for the process already/);
  await peer.attach();
  expect((await peer.next(FrameType.DATA)).payload.length).toBe(1024);
});

test('an output that is destroyed or ignored is stopped, again after every attachment', async () => {
  const { peer, channel } = await open({ stderr: 'ignore' });
  const attach = await peer.attach();
  expect((await peer.next(FrameType.STOP)).id).toBe(23);
  channel.stdout.destroy();
  expect((await peer.next(FrameType.STOP)).id).toBe(22);
  peer.stdout(attach, 0, Buffer.from('too late'));
  peer.goAway(aborted);
  const again = await peer.attach({ stdoutStart: 8 });
  const stops = [await peer.next(FrameType.STOP), await peer.next(FrameType.STOP)];
  expect(stops.map((frame) => frame.id)).toEqual([22, 23]);
  peer.exit(again, { stdoutFinal: 8, stderrFinal: 1234 });
  expect(await channel.result).toMatchObject({ exitCode: 0 });
  expect(await read(channel.stderr)).toBe('');
});

test('a refused attachment is its code', async () => {
  const { peer, channel } = await open();
  const attach = await peer.next(FrameType.ATTACH);
  peer.send({ type: FrameType.REFUSED, id: attach.id, payload: encodeFailure(7, 'wrong token') });
  await expect(channel.attached).rejects.toMatchObject({ code: 'permission_denied', reason: 'wrong token' });
  await expect(channel.result).rejects.toMatchObject({ code: 'permission_denied' });
});

test('another client that attaches ends this attachment', async () => {
  const { peer, channel } = await open();
  const attach = await peer.attach();
  peer.send({ type: FrameType.DETACHED, id: attach.id });
  await expect(channel.result).rejects.toMatchObject({ code: 'aborted' });
  await expect(read(channel.stdout)).rejects.toMatchObject({ code: 'aborted' });
});

test('with the VM lost, a reader gets every byte that came and then the error', async () => {
  const { peer, channel } = await open();
  const attach = await peer.attach();
  const bytes = Buffer.alloc(30_000, 'x');
  for (let i = 0; i < 10; i++) peer.stdout(attach, i * bytes.length, bytes);
  // Once this end is here, so is all the rest.
  peer.send({ type: FrameType.EOF, id: 23, generation: attach.generation });
  expect(await read(channel.stderr)).toBe('');
  peer.goAway(new RpcError('unavailable', 'the VM is gone'));
  expect(await channel.result).toMatchObject({ cause: 'vm_lost', code: 255 });
  let total = 0;
  const reading = (async () => {
    for await (const chunk of channel.stdout as AsyncIterable<Buffer>) total += chunk.length;
  })();
  await expect(reading).rejects.toMatchObject({ code: 'unavailable' });
  expect(total).toBe(300_000);
});

test('what the agent may not do ends the connection and not the process', async () => {
  const { peer, channel } = await open();
  const attach = await peer.attach();
  peer.stdout(attach, 5, Buffer.from('a gap'));
  const goAway: Frame = await peer.next(FrameType.ATTACH);
  expect(goAway.generation).not.toBe(attach.generation);
  expect(channel.settled).toBe(false);
});
