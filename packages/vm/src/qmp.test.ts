import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { findQemu } from './host.ts';
import { isListening } from './listening.ts';
import { Qmp, type QmpEvent } from './qmp.ts';
import { temporaryFolder, until } from './testing.ts';

/** A real QEMU without a machine: it starts in milliseconds. */
async function startQemu() {
  const path = join(temporaryFolder(), 'qmp.sock');
  const qemu = spawn(
    findQemu({}),
    ['-machine', 'none', '-nodefaults', '-display', 'none', '-S', '-qmp', `unix:${path},server=on,wait=off`],
    { stdio: 'ignore' },
  );
  onTestFinished(() => void qemu.kill('SIGKILL'));
  await until('the QMP socket', () => isListening(path));
  return { path, qemu };
}

/** A server that says what QEMU never would. */
async function startServer(greeting: string) {
  const path = join(temporaryFolder(), 'qmp.sock');
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.write(greeting);
  });
  server.listen(path);
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return path;
}

test('commands, events and errors of a real QEMU', async () => {
  const { path, qemu } = await startQemu();
  using qmp = await Qmp.connect(path);
  expect(await qmp.queryStatus()).toBe('prelaunch');
  const events: QmpEvent[] = [];
  qmp.on('event', (event) => events.push(event));
  await qmp.cont();
  expect(await qmp.queryStatus()).toBe('running');
  await qmp.stop();
  expect(await qmp.queryStatus()).toBe('paused');
  expect(events.map((event) => event.event)).toEqual(['RESUME', 'STOP']);
  // Answers find their own question however many are under way.
  const answers = await Promise.all(Array.from({ length: 50 }, () => qmp.queryStatus()));
  expect(new Set(answers)).toEqual(new Set(['paused']));
  await expect(qmp.execute('no-such-command')).rejects.toMatchObject({
    code: 'qmp',
    command: 'no-such-command',
    errorClass: 'CommandNotFound',
  });
  await expect(qmp.execute('query-status', { not: 'known' })).rejects.toMatchObject({
    errorClass: 'GenericError',
  });
  const gone = once(qemu, 'exit');
  await qmp.quit();
  expect(await gone).toEqual([0, null]);
});

test('a killed QEMU fails the command that waits, and those after it', async () => {
  const { path, qemu } = await startQemu();
  using qmp = await Qmp.connect(path);
  qemu.kill('SIGSTOP');
  const waiting = qmp.queryStatus();
  qemu.kill('SIGKILL');
  await expect(waiting).rejects.toThrow(/while waiting for query-status/);
  await expect(qmp.queryStatus()).rejects.toMatchObject({ code: 'qmp' });
});

test('a second client is told when the first does not leave, and served when it does', async () => {
  const { path } = await startQemu();
  const first = await Qmp.connect(path);
  await expect(Qmp.connect(path, { timeoutMs: 50 })).rejects.toThrow(
    /no greeting within 50 ms[\s\S]*holds its monitor/,
  );
  const second = Qmp.connect(path);
  first.close();
  using qmp = await second;
  expect(await qmp.queryStatus()).toBe('prelaunch');
});

test('an abort ends a connection that waits for its greeting', async () => {
  const path = await startServer('');
  const controller = new AbortController();
  const connecting = Qmp.connect(path, { signal: controller.signal });
  controller.abort(new Error('enough'));
  await expect(connecting).rejects.toThrow(/aborted/);
});

test('nobody listening, and somebody who speaks no QMP, are clear errors', async () => {
  await expect(Qmp.connect(join(temporaryFolder(), 'none.sock'))).rejects.toThrow(/ENOENT/);
  await expect(Qmp.connect(await startServer('SSH-2.0-x\r\n'))).rejects.toThrow(/not JSON: SSH-2.0-x/);
});

test('a message without an end is cut off', async () => {
  await expect(Qmp.connect(await startServer('x'.repeat(5 << 20)))).rejects.toThrow(/a message of more than/);
});
