/**
 * How fast the wire is by itself: no VM, no agent, no proxy.
 *
 *   node bench/wire.ts
 *
 * Baselines stand beside what they limit: copying memory for the decoder and the streams, a bare unix socket
 * for two connections.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  Connection,
  Decoder,
  decodeWindow,
  EPOCH_BYTES,
  encodeFrame,
  encodePreamble,
  type Frame,
  FrameType,
  MAX_FRAME_BYTES,
  MAX_PAYLOAD_BYTES,
  ReceiveStream,
  Role,
  recycleFrame,
  SendStream,
  STREAM_WINDOW_BYTES,
} from '@coracle/wire';

const MIB = 1024 * 1024;
const STREAM = 6;

function report(name: string, bytes: number, startedMs: number, frames?: number): void {
  const seconds = (performance.now() - startedMs) / 1000;
  const each = frames === undefined ? '' : `, ${((seconds / frames) * 1e9).toFixed(0)} ns a frame`;
  console.log(`${name.padEnd(64)} ${(bytes / MIB / seconds).toFixed(0).padStart(7)} MiB/s${each}`);
}

function decoder(onFrame: (frame: Frame) => void, reuseMemory = false): Decoder {
  const decoder = new Decoder({ preamble: () => true, frame: onFrame }, { resynchronise: true, reuseMemory });
  decoder.push(
    encodePreamble({
      versionMin: 1,
      versionMax: 1,
      features: 0,
      epoch: Buffer.alloc(EPOCH_BYTES),
      echo: Buffer.alloc(EPOCH_BYTES),
      role: Role.client,
    }),
  );
  return decoder;
}

function decode(payloadBytes: number, chunkBytes: number, totalBytes: number, reuseMemory = false): void {
  const frame = encodeFrame({ type: FrameType.DATA, id: STREAM, payload: Buffer.alloc(payloadBytes, 1) });
  const perRound = Math.max(1, Math.floor((4 * MIB) / frame.length));
  const bytes = Buffer.concat(Array.from({ length: perRound }, () => frame));
  let frames = 0;
  let seen = 0;
  const decode = decoder((decoded) => {
    frames++;
    seen += decoded.payload.length;
  }, reuseMemory);
  const rounds = Math.ceil(totalBytes / bytes.length);
  const started = performance.now();
  for (let round = 0; round < rounds; round++) {
    for (let at = 0; at < bytes.length; at += chunkBytes) decode.push(bytes.subarray(at, at + chunkBytes));
  }
  report(
    `decode ${payloadBytes}-byte payloads in ${chunkBytes}-byte chunks${reuseMemory ? ', memory reused' : ''}`,
    seen,
    started,
    frames,
  );
}

function copy(): void {
  const from = Buffer.alloc(MAX_FRAME_BYTES, 1);
  const started = performance.now();
  const times = 40_000;
  for (let i = 0; i < times; i++) from.copy(Buffer.allocUnsafe(MAX_FRAME_BYTES));
  report('baseline: copy 32 KiB into new memory', times * MAX_FRAME_BYTES, started, times);
}

function streams(pushBytes: number, totalBytes: number): void {
  const sender = new SendStream(
    STREAM,
    { ready: () => undefined, room: () => undefined, stopped: () => undefined },
    { retentionBytes: STREAM_WINDOW_BYTES },
  );
  const receiver = new ReceiveStream(STREAM, STREAM_WINDOW_BYTES);
  const { limit } = receiver.attach(1);
  sender.attach(0, limit, 1);
  const decode = decoder((frame) => {
    const window = receiver.deliver(receiver.data(frame.offset, frame.payload).length);
    if (window) sender.window(receiver.delivered, decodeWindow(window.subarray(24, 32)));
  });
  const source = Buffer.allocUnsafeSlow(pushBytes);
  const started = performance.now();
  let frames = 0;
  while (receiver.delivered < totalBytes) {
    while (sender.room >= pushBytes) sender.push(source);
    for (let frame = sender.pull(); frame !== undefined; frame = sender.pull()) {
      decode.push(frame);
      recycleFrame(frame);
      frames++;
    }
  }
  report(`SendStream to ReceiveStream, ${pushBytes} bytes a push`, receiver.delivered, started, frames);
}

async function socketPair(): Promise<{ near: Socket; far: Socket; close(): void }> {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-bench-'));
  const path = join(folder, 'socket');
  const server = createServer();
  const far = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const near = connect(path);
  const accepted = await far;
  const close = (): void => {
    near.destroy();
    accepted.destroy();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  };
  return { near, far: accepted, close };
}

async function bareSocket(totalBytes: number): Promise<void> {
  const { near, far, close } = await socketPair();
  const block = Buffer.alloc(MAX_FRAME_BYTES, 1);
  let received = 0;
  const started = performance.now();
  await new Promise<void>((resolve) => {
    far.on('data', (chunk) => {
      received += chunk.length;
      if (received >= totalBytes) resolve();
    });
    let sent = 0;
    const fill = (): void => {
      while (sent < totalBytes && near.writableLength < 2 * MAX_FRAME_BYTES) {
        sent += block.length;
        near.write(block, fill);
      }
    };
    fill();
  });
  report('baseline: 32 KiB writes over a unix socket', received, started);
  close();
}

async function connections(totalBytes: number): Promise<void> {
  const { near, far, close } = await socketPair();
  const receiver = new ReceiveStream(STREAM, STREAM_WINDOW_BYTES);
  const source = Buffer.alloc(MAX_PAYLOAD_BYTES, 1);
  let frames = 0;
  let started = 0;
  await new Promise<void>((resolve, reject) => {
    const answering: Connection = new Connection(
      far,
      { role: Role.agent, opener: false },
      {
        open: () => undefined,
        frame: (frame) => {
          frames++;
          const window = receiver.deliver(receiver.data(frame.offset, frame.payload).length);
          if (window) answering.sendEncoded(window);
          if (receiver.delivered >= totalBytes) resolve();
        },
        closed: reject,
      },
    );
    const fill = (): void => {
      while (sender.room >= source.length && sender.end < totalBytes) sender.push(source);
    };
    const opening: Connection = new Connection(
      near,
      { role: Role.client, opener: true },
      {
        open: () => {
          started = performance.now();
          sender.attach(0, receiver.attach(1).limit, 1);
          fill();
        },
        frame: (frame) => sender.window(frame.offset, decodeWindow(frame.payload)),
        closed: reject,
      },
    );
    const sender: SendStream = new SendStream(
      STREAM,
      { ready: (stream) => opening.schedule(stream), room: fill, stopped: () => undefined },
      { retentionBytes: STREAM_WINDOW_BYTES },
    );
  });
  report('two Connections over a unix socket, one process', receiver.delivered, started, frames);
  close();
}

const shortRun = process.argv.includes('--short');
const total = (mib: number): number => (mib * MIB) / (shortRun ? 16 : 1);

copy();
decode(MAX_PAYLOAD_BYTES, 4 * MIB, total(16_384));
decode(MAX_PAYLOAD_BYTES, 65_536, total(4096));
decode(MAX_PAYLOAD_BYTES, 4096, total(1024));
decode(MAX_PAYLOAD_BYTES, 4096, total(1024), true);
decode(64, 65_536, total(256));
decode(1, 65_536, total(32));
streams(MAX_PAYLOAD_BYTES, total(2048));
streams(65_536, total(2048));
streams(100, total(256));
await bareSocket(total(1024));
await connections(total(1024));
