import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { close } from './fd.ts';
import { shutdownSocket, takeDescriptor } from './steal.ts';

test("another process's connection can be taken and ended; it sees its end", async () => {
  const folder = mkdtempSync(join(tmpdir(), 'coracle-'));
  const server = createServer().listen(join(folder, 's'));
  onTestFinished(() => {
    server.close();
    rmSync(folder, { recursive: true });
  });
  await once(server, 'listening');
  const script = `require('net').connect(${JSON.stringify(join(folder, 's'))}).on('close', () => process.exit(7)).resume()`;
  const child = spawn(process.execPath, ['-e', script], { stdio: 'ignore' });
  const exited = once(child, 'exit');
  await once(server, 'connection');
  const fds = readdirSync(`/proc/${child.pid}/fd`).map(Number);
  const sockets = fds.filter((fd) => readlinkSync(`/proc/${child.pid}/fd/${fd}`).startsWith('socket:'));
  expect(sockets.length).toBe(1);
  const fd = takeDescriptor(child.pid!, sockets[0]!);
  shutdownSocket(fd);
  close(fd);
  expect((await exited)[0]).toBe(7);
});

test('a process or descriptor that is not there is named', () => {
  expect(() => takeDescriptor(process.pid, 9999)).toThrow(/pidfd_getfd.*9999/);
});
