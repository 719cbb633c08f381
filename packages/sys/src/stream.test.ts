import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { close, pipe2 } from './fd.ts';
import { openPty } from './pty.ts';
import { socketPair } from './socket.ts';
import { openStream } from './stream.ts';

describe('openStream', () => {
  it('carries a megabyte through a pipe, with back-pressure', async () => {
    const pipe = pipe2();
    const writer = openStream(pipe.write);
    const reader = openStream(pipe.read);
    expect([writer.readable, writer.writable, reader.writable]).toEqual([false, true, false]);
    const sent = 'x'.repeat(1 << 20);
    writer.end(sent);
    expect(await text(reader)).toBe(sent);
  });

  it('reads into the one buffer of onread', async () => {
    const pipe = pipe2();
    const buffer = Buffer.alloc(4);
    const parts: string[] = [];
    const reader = openStream(pipe.read, {
      onread: {
        buffer,
        callback: (count, into) => parts.push(Buffer.from(into.subarray(0, count)).toString()) > 0,
      },
    });
    openStream(pipe.write).end('abcdefghij');
    await once(reader, 'close');
    expect(parts.join('')).toBe('abcdefghij');
    expect(Math.max(...parts.map((part) => part.length))).toBe(4);
  });

  it('half-closes a socket', async () => {
    const [left, right] = socketPair();
    const [a, b] = [openStream(left), openStream(right)];
    a.end('question');
    expect(await text(b)).toBe('question');
    b.end('answer');
    expect(await text(a)).toBe('answer');
  });

  it('reads and writes the slave of a pty', async () => {
    const pty = openPty();
    const slave = openStream(pty.slave);
    slave.write('to the master\n');
    const { PtyStream } = await import('./pty-stream.ts');
    const master = new PtyStream(pty.master);
    const [first] = (await once(master, 'data')) as [Buffer];
    expect(first.toString()).toBe('to the master\r\n');
    master.write('typed\r');
    const [line] = (await once(slave, 'data')) as [Buffer];
    expect(line.toString()).toBe('typed\n');
    slave.destroy();
    master.destroy();
  });

  it('refuses what it would break on', () => {
    const file = openSync('/dev/null', 'r+');
    expect(() => openStream(file)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    closeSync(file);
    expect(() => openStream(9999)).toThrow(expect.objectContaining({ code: 'EBADF' }));
    const pty = openPty();
    expect(() => openStream(pty.master)).toThrow(/lose the end of the output; use PtyStream/);
    close(pty.master);
    close(pty.slave);
  });
});
