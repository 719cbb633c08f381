import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { close, pipe2, read, setNonblocking, write } from './fd.ts';
import { Watch } from './poll.ts';
import {
  getWindowSize,
  isPtyMaster,
  isTerminal,
  makeRaw,
  openPty,
  openSlaveOf,
  restoreTerminal,
  setWindowSize,
} from './pty.ts';
import { PtyStream } from './pty-stream.ts';
import { ENV, ended, shell } from './testing.ts';

const seqOutput = Array.from({ length: 200_000 }, (_, index) => `${index + 1}\r\n`).join('');

describe('openPty', () => {
  it('has a size, a slave and two ends that know what they are', () => {
    const pty = openPty({ columns: 132, rows: 43 });
    expect(getWindowSize(pty.slave)).toEqual({ columns: 132, rows: 43 });
    setWindowSize(pty.master, { columns: 1, rows: 65535 });
    expect(getWindowSize(pty.slave)).toEqual({ columns: 1, rows: 65535 });
    expect(pty.slavePath).toMatch(/^\/dev\/pts\/\d+$/);
    expect([isPtyMaster(pty.master), isPtyMaster(pty.slave)]).toEqual([true, false]);
    expect([isTerminal(pty.master), isTerminal(pty.slave)]).toEqual([true, true]);
    const another = openSlaveOf(pty.master);
    expect(getWindowSize(another).columns).toBe(1);
    for (const fd of [another, pty.slave, pty.master]) close(fd);
  });

  it('takes a terminal to raw mode and back', () => {
    const pty = openPty();
    const saved = makeRaw(pty.slave);
    const raw = makeRaw(pty.slave);
    expect(raw.termios.equals(saved.termios)).toBe(false);
    write(pty.slave, Buffer.from('\n'));
    const buffer = Buffer.alloc(10);
    expect(read(pty.master, buffer)).toBe(1); // no carriage return is added
    restoreTerminal(pty.slave, saved);
    expect(makeRaw(pty.slave).termios.equals(saved.termios)).toBe(true);
    const pipe = pipe2();
    expect(isTerminal(pipe.read)).toBe(false);
    expect(() => makeRaw(pipe.read)).toThrow(expect.objectContaining({ code: 'ENOTTY' }));
    for (const fd of [pipe.read, pipe.write, pty.slave, pty.master]) close(fd);
  });
});

describe('the output of a process that exits at once', () => {
  // libuv's streams and node-pty lose the tail here (microsoft/node-pty#726).
  it('is whole on a PtyStream', async () => {
    for (let round = 0; round < 5; round++) {
      const pty = openPty();
      const pid = shell('exec seq 1 200000', {
        descriptors: { 0: pty.slave, 1: pty.slave, 2: pty.slave },
        newSession: true,
      });
      close(pty.slave);
      const [output, status] = await Promise.all([text(new PtyStream(pty.master)), ended(pid)]);
      expect(output.length).toBe(seqOutput.length);
      expect(output === seqOutput).toBe(true);
      expect(status).toEqual({ kind: 'exited', code: 0 });
    }
  });

  it('is whole when read only after the exit, up to what the terminal holds', async () => {
    const pty = openPty();
    setNonblocking(pty.master, true);
    const pid = shell('exec seq 1 500', { descriptors: { 1: pty.slave } });
    close(pty.slave);
    await ended(pid);
    const output = await new Promise<string>((resolve) => {
      const parts: Buffer[] = [];
      const watch = new Watch(pty.master, { readable: true }, () => {
        const buffer = Buffer.alloc(100);
        const count = read(pty.master, buffer);
        if (count === 'eof') {
          watch.close();
          resolve(Buffer.concat(parts).toString());
        } else if (count !== 'again') parts.push(buffer.subarray(0, count));
      });
    });
    expect(output).toBe(Array.from({ length: 500 }, (_, index) => `${index + 1}\r\n`).join(''));
    close(pty.master);
  });
});

describe('PtyStream', () => {
  it('writes against back-pressure and reads the echo', async () => {
    const pty = openPty();
    makeRaw(pty.slave);
    const pid = shell('exec head -c 300000', { descriptors: { 0: pty.slave, 1: pty.slave, 2: pty.slave } });
    close(pty.slave);
    const stream = new PtyStream(pty.master);
    const sent = 'abcdefghij'.repeat(30_000);
    stream.write(sent);
    expect((await text(stream)) === sent).toBe(true);
    await ended(pid);
  });

  it('ends and closes although a write can never be finished', async () => {
    const pty = openPty();
    const stream = new PtyStream(pty.master);
    stream.pause();
    const written = once(stream, 'finish');
    stream.end(Buffer.alloc(1 << 20, 'x'));
    await turn();
    close(pty.slave);
    await written;
    stream.resume();
    await once(stream, 'close');
    expect(() => getWindowSize(pty.master)).toThrow(/EBADF/);
  });

  it('gives a session its controlling terminal by path', async () => {
    const pty = openPty({ columns: 77, rows: 33 });
    const pid = shell('stty size </dev/tty; ps -o tty= -p $$', {
      terminal: pty.slavePath,
      newSession: true,
      env: ENV,
    });
    close(pty.slave);
    const output = await text(new PtyStream(pty.master));
    expect(output).toContain('33 77\r\n');
    expect(output).toContain(pty.slavePath.slice('/dev/'.length));
    expect(await ended(pid)).toEqual({ kind: 'exited', code: 0 });
  });
});
