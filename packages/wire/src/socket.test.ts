/** A stream over two Connections and a real unix socket, where frames' memory is used again. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { Connection } from './connection.ts';
import { STREAM_WINDOW_BYTES } from './limits.ts';
import { decodeWindow } from './payloads.ts';
import { Role } from './preamble.ts';
import { ReceiveStream } from './receive-stream.ts';
import { SendStream } from './send-stream.ts';

it('32 MiB in pieces of all sizes arrive whole, into memory that is used again on both sides', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-wire-'));
  const server = createServer();
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  await new Promise<void>((resolve) => server.listen(join(folder, 'socket'), resolve));
  const near = connect(join(folder, 'socket'));
  const far = await accepted;
  try {
    const total = 32 * 1024 * 1024;
    const random = randomBytes(1024 * 1024 + 77);
    const sent = createHash('sha256');
    const received = createHash('sha256');
    const receiver = new ReceiveStream(6, STREAM_WINDOW_BYTES);
    await new Promise<void>((resolve, reject) => {
      const answering: Connection = new Connection(
        far,
        { role: Role.agent, opener: false, manualReceive: true },
        {
          open: () => undefined,
          frame: (frame) => {
            const bytes = receiver.data(frame.offset, frame.payload);
            received.update(bytes);
            const window = receiver.deliver(bytes.length);
            if (window) answering.sendEncoded(window);
            if (receiver.delivered === total) resolve();
          },
          closed: reject,
        },
      );
      // As from a port that is read into one small buffer: most frames come in pieces.
      const buffer = Buffer.alloc(4096);
      far.on('data', (chunk: Buffer) => {
        for (let at = 0; at < chunk.length; at += buffer.length) {
          answering.receive(buffer.subarray(0, chunk.copy(buffer, 0, at, at + buffer.length)));
        }
      });
      let step = 0;
      const fill = (): void => {
        while (sender.end < total) {
          const length = Math.min((step++ * 7919) % 70_000 || 1, total - sender.end);
          if (sender.room < length) return;
          const at = (step * 104_729) % (random.length - 70_000);
          const piece = random.subarray(at, at + length);
          sent.update(piece);
          sender.push(piece);
        }
      };
      const opening: Connection = new Connection(
        near,
        { role: Role.client, opener: true },
        {
          open: () => {
            sender.attach(0, receiver.attach(1).limit, 1);
            fill();
          },
          frame: (frame) => sender.window(frame.offset, decodeWindow(frame.payload)),
          closed: reject,
        },
      );
      const sender: SendStream = new SendStream(
        6,
        { ready: (stream) => opening.schedule(stream), room: fill, stopped: () => undefined },
        { retentionBytes: STREAM_WINDOW_BYTES },
      );
    });
    expect(received.digest('hex')).toBe(sent.digest('hex'));
  } finally {
    near.destroy();
    far.destroy();
    server.close();
    rmSync(folder, { recursive: true, force: true });
  }
});
