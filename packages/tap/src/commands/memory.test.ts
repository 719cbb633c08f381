/** A capture that is larger than what the program may take: it is read through, and not held. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Capture, Direction, encodeFrame, encodeWindow, FrameType, MAX_PAYLOAD_BYTES } from '@coracle/wire';
import { afterAll, beforeAll, expect, it } from 'vitest';

const FRAMES = 10_000;
const MOST_RESIDENT_KIB = 200 * 1024;
const folder = mkdtempSync(join(tmpdir(), 'coracle-tap-'));
const path = join(folder, 'large.pcapng');
let written = 0;

beforeAll(() => {
  const descriptor = openSync(path, 'w');
  const capture = new Capture({
    content: 'payload',
    application: 'test',
    place: 'in a test',
    maxQueuedBytes: Number.MAX_SAFE_INTEGER,
    write: (bytes, taken) => {
      written += writeSync(descriptor, bytes);
      taken();
    },
  });
  const box = capture.sandbox('large');
  const payload = Buffer.alloc(MAX_PAYLOAD_BYTES, 'coracle');
  for (let frame = 0; frame < FRAMES; frame++) {
    const offset = frame * payload.length;
    const data = encodeFrame({ type: FrameType.DATA, id: 6, generation: 1, offset, payload });
    box.frame(Direction.toClient, 1, data);
    const delivered = offset + payload.length;
    const credit = encodeWindow(delivered + 1024 * 1024);
    const fields = { id: 6, generation: 1, offset: delivered, payload: credit };
    box.frame(Direction.toAgent, 1, encodeFrame({ type: FrameType.WINDOW, ...fields }));
  }
  capture.close();
  closeSync(descriptor);
});

afterAll(() => rmSync(folder, { recursive: true }));

/** Tells what it took at most, when it ends. */
const WATCH =
  'data:text/javascript,process.on("exit",()=>console.error("resident",process.resourceUsage().maxRSS))';

it.each(['stats', 'diagnose', 'show', 'show --json'])('%s', async (command) => {
  expect(written / 1024).toBeGreaterThan(MOST_RESIDENT_KIB);
  const program = join(import.meta.dirname, '../main.ts');
  const args = ['--import', WATCH, program, ...command.split(' '), path];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let lines = 0;
  child.stdout.on('data', (bytes: Buffer) => {
    for (const byte of bytes) if (byte === 10) lines++;
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  expect(await once(child, 'close')).toEqual([0, null]);
  if (command.startsWith('show')) expect(lines).toBe(2 * FRAMES);
  expect(Number(/resident (\d+)/.exec(said)?.[1])).toBeLessThan(MOST_RESIDENT_KIB);
});
