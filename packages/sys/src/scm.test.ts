import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { close, pipe2, read, write } from './fd.ts';
import { isPtyMaster, openPty } from './pty.ts';
import { acceptDescriptor, receiveDescriptor, sendDescriptor, sendDescriptorTo } from './scm.ts';
import { peerCredentials, socketPair } from './socket.ts';

const folder = mkdtempSync(join(tmpdir(), 'coracle-scm-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('sendDescriptor and receiveDescriptor', () => {
  it('pass a working pipe end', () => {
    const [left, right] = socketPair();
    const pipe = pipe2({ nonblockingRead: true });
    expect(receiveDescriptor(right)).toBe('again');
    sendDescriptor(left, pipe.write, Buffer.from('name'));
    close(pipe.write);
    const received = receiveDescriptor(right);
    if (typeof received === 'string') throw new Error(received);
    expect(received.data.toString()).toBe('name');
    write(received.descriptor, Buffer.from('through'));
    close(received.descriptor);
    const buffer = Buffer.alloc(10);
    expect([read(pipe.read, buffer), read(pipe.read, buffer)]).toEqual([7, 'eof']);
    write(left, Buffer.from('bare'));
    expect(() => receiveDescriptor(right)).toThrow(expect.objectContaining({ code: 'EBADMSG' }));
    close(left);
    expect(receiveDescriptor(right)).toBe('eof');
    for (const fd of [pipe.read, right]) close(fd);
  });

  it('knows its peer', () => {
    const [left, right] = socketPair();
    expect(peerCredentials(left)).toEqual({
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
    });
    close(left);
    close(right);
  });
});

describe('acceptDescriptor', () => {
  it('receives a pty master as from a runtime and removes the socket', async () => {
    const path = join(folder, 'console.sock');
    const pty = openPty();
    const received = acceptDescriptor(path);
    sendDescriptorTo(path, pty.master, Buffer.from('/dev/pts/0'));
    close(pty.master);
    const { descriptor, data } = await received;
    expect(isPtyMaster(descriptor)).toBe(true);
    expect(data.toString()).toBe('/dev/pts/0');
    expect(existsSync(path)).toBe(false);
    close(descriptor);
    close(pty.slave);
  });

  it('fails when the peer sends nothing, and when aborted', async () => {
    const path = join(folder, 'failing.sock');
    const received = acceptDescriptor(path);
    connect(path).end();
    await expect(received).rejects.toMatchObject({ code: 'ECONNRESET' });
    const controller = new AbortController();
    const aborted = acceptDescriptor(path, controller.signal);
    controller.abort(new Error('enough'));
    await expect(aborted).rejects.toThrow('enough');
    expect(existsSync(path)).toBe(false);
  });

  it('says when the path is too long or nobody listens', async () => {
    await expect(acceptDescriptor(join(folder, 'x'.repeat(120)))).rejects.toThrow(/1 to 107 bytes/);
    expect(() => sendDescriptorTo(join(folder, 'nobody.sock'), 0, Buffer.from('x'))).toThrow(
      /connect on .*ENOENT/,
    );
  });
});
