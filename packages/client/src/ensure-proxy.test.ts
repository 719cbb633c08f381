import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { ensureProxy } from './ensure-proxy.ts';

let socketPath: string;

beforeEach(() => {
  const directory = mkdtempSync(join(tmpdir(), 'coracle-ensure-'));
  socketPath = join(directory, 'proxy.sock');
  onTestFinished(() => rmSync(directory, { recursive: true, force: true }));
});

test('starts nothing when one listens', async () => {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  onTestFinished(() => void server.close());
  await ensureProxy({ socketPath, command: ['/does/not/exist'] });
});

test('a program that is not there', async () => {
  const starting = ensureProxy({ socketPath, command: ['/does/not/exist'] });
  await expect(starting).rejects.toMatchObject({ code: 'unavailable' });
  await expect(starting).rejects.toThrow(/\/does\/not\/exist/);
});

test('a program that fails is quoted', async () => {
  const command = ['sh', '-c', 'echo "no lock for you" >&2; exit 3'];
  await expect(ensureProxy({ socketPath, command })).rejects.toThrow(/code 3.*\n?.*no lock for you/s);
});

test('given up by a signal', async () => {
  const command = ['sh', '-c', 'kill -STOP $$'];
  const signal = AbortSignal.abort();
  await expect(ensureProxy({ socketPath, command, signal })).rejects.toMatchObject({ code: 'cancelled' });
});

// Ten sessions that lose their proxy at once each started one: nine of them came too late, and kept the processors
// busy that the tenth needed. Streams stood still for half a second instead of a fifth.
test('asked by many at once, it starts one program', async () => {
  const started = `${socketPath}.started`;
  const program = `
    require('node:fs').appendFileSync(process.argv[2], 'x');
    require('node:net').createServer().listen(process.argv[1], () => console.log('ready'));
    process.once('SIGTERM', () => process.exit());
    require('node:fs').writeFileSync(process.argv[2] + '.pid', String(process.pid));`;
  const command = [process.execPath, '-e', program, socketPath, started];
  await Promise.all(Array.from({ length: 10 }, () => ensureProxy({ socketPath, command })));
  process.kill(Number(readFileSync(`${started}.pid`, 'utf8')), 'SIGTERM');
  expect(readFileSync(started, 'utf8')).toBe('x');
});
