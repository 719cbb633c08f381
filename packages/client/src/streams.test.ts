import { finished } from 'node:stream/promises';
import { ReceiveStream, SendStream } from '@coracle/wire';
import { expect, test } from 'vitest';
import { InputStream } from './input-stream.ts';
import { OutputStream } from './output-stream.ts';

const WINDOW = 1 << 20;
const tick = () => new Promise((resolve) => setImmediate(resolve));

function output(windowBytes = WINDOW) {
  const receive = new ReceiveStream(22, windowBytes);
  receive.attach(1);
  const sent: Buffer[] = [];
  const stream = new OutputStream(
    receive,
    { send: (frame) => sent.push(frame), changed: () => undefined },
    64 * 1024,
  );
  const feed = (bytes: Buffer) => stream.receive(receive.data(receive.expected, bytes));
  return { receive, stream, sent, feed };
}

function input(retentionBytes = WINDOW) {
  let stream: InputStream;
  const events = {
    ready: () => undefined,
    room: () => stream.advance(),
    stopped: () => stream.broken('the test says so'),
  };
  const send = new SendStream(21, events, { retentionBytes });
  stream = new InputStream(send, 64 * 1024);
  const open = (limit = WINDOW) => {
    send.resume(0, limit, 1);
    stream.opened();
  };
  return { send, stream, open };
}

test('an unread output is delivered as far as the Readable buffers, and no further', async () => {
  const { receive, stream, feed } = output();
  for (let i = 0; i < 32; i++) feed(Buffer.alloc(32_000, i));
  await tick();
  expect(receive.delivered).toBe(96_000);
  expect(receive.held).toBe(32 * 32_000 - 96_000);
  receive.end(32 * 32_000);
  let total = 0;
  for await (const chunk of stream as AsyncIterable<Buffer>) total += chunk.length;
  expect(total).toBe(32 * 32_000);
  expect(receive.complete).toBe(true);
});

test('credit follows the reader', async () => {
  const { stream, sent, feed } = output(1000);
  for (let i = 0; i < 10; i++) feed(Buffer.alloc(100));
  await tick();
  expect(sent.length).toBeGreaterThan(0);
  const last = sent.at(-1) as Buffer;
  expect(last.readUInt8(4)).toBe(0x03);
  stream.destroy();
});

test('single bytes are gathered, so a stuck reader does not pin what they came in', async () => {
  const { receive, stream, feed } = output();
  feed(Buffer.alloc(70_000));
  const socketChunk = Buffer.allocUnsafeSlow(65_536);
  for (let i = 0; i < 20_000; i++) feed(socketChunk.subarray(5, 6).fill(i & 0xff));
  receive.end(90_000);
  const chunks: Buffer[] = [];
  stream.on('data', (chunk) => chunks.push(chunk));
  await finished(stream);
  const [first, ...rest] = chunks;
  expect(first?.length).toBe(70_000);
  expect(rest.map((chunk) => [chunk.length, chunk.buffer.byteLength])).toEqual([
    [16_384, 16_384],
    [20_000 - 16_384, 16_384],
  ]);
  const bytes = Buffer.concat(rest);
  expect(bytes.every((byte, i) => byte === (i & 0xff))).toBe(true);
});

test('a listener that reads while it is called neither doubles nor drops', async () => {
  const { receive, stream, feed } = output();
  let text = '';
  stream.on('readable', () => {
    for (let chunk = stream.read(3); chunk !== null; chunk = stream.read(3)) text += chunk;
    const rest = stream.read();
    if (rest !== null) text += rest;
  });
  for (const part of ['abcdef', 'gh', 'ijklmnop']) feed(Buffer.from(part));
  receive.end(16);
  stream.finalKnown();
  await finished(stream);
  expect(text).toBe('abcdefghijklmnop');
});

test('writes before the attachment wait for it', async () => {
  const { send, stream, open } = input();
  stream.write('early');
  await tick();
  expect(send.end).toBe(0);
  open();
  expect(send.end).toBe(5);
});

test('a write larger than the retention goes in pieces as there is room', async () => {
  const { send, stream, open } = input(100);
  open();
  let done = false;
  stream.write(Buffer.alloc(250), () => {
    done = true;
  });
  expect(send.end).toBe(100);
  send.pull();
  send.window(100, WINDOW + 1);
  expect(send.end).toBe(200);
  send.pull();
  send.window(200, WINDOW + 2);
  expect(send.end).toBe(250);
  expect(done).toBe(false);
  await tick();
  expect(done).toBe(true);
});

test('the caller may use its buffer again after the callback', async () => {
  const { send, stream, open } = input();
  open();
  const bytes = Buffer.from('before');
  await new Promise((resolve) => stream.write(bytes, resolve));
  bytes.fill('x');
  expect(send.pull()?.subarray(24, 30).toString()).toBe('before');
});

test('STOP fails the write under way and each that follows with EPIPE', async () => {
  const { send, stream, open } = input(10);
  open();
  const writing = new Promise((resolve) => stream.write(Buffer.alloc(50), resolve));
  send.stop();
  expect(await writing).toMatchObject({ code: 'EPIPE' });
  expect(stream.errored).toMatchObject({ code: 'EPIPE' });

  const idle = input();
  idle.open();
  idle.send.stop();
  expect(await new Promise((resolve) => idle.stream.write('x', resolve))).toMatchObject({ code: 'EPIPE' });
});

test('the process ends: an open stdin is told, a closed one is fine', async () => {
  const open = input();
  open.open();
  open.stream.exited();
  await expect(finished(open.stream)).rejects.toMatchObject({ code: 'EPIPE' });

  const ended = input();
  ended.open();
  ended.stream.end('x');
  await finished(ended.stream);
  ended.stream.exited();
  expect(ended.stream.errored).toBe(null);
});

test('destroying stdin is the end of file', async () => {
  const { send, stream, open } = input();
  open();
  stream.write('abc');
  stream.destroy();
  await tick();
  expect(send.final).toBe(3);

  const early = input();
  early.stream.destroy();
  await tick();
  early.open();
  expect(early.send.final).toBe(0);
});
