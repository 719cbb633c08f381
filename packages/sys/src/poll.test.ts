import { closeSync, openSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { close, pipe2, read, write } from './fd.ts';
import { Watch } from './poll.ts';

describe('Watch', () => {
  it('reports readiness, stops without interest, goes on, and reports the end', async () => {
    const pipe = pipe2({ nonblockingRead: true });
    const buffer = Buffer.alloc(16);
    const seen: (number | string)[] = [];
    const { promise: paused, resolve: pause } = Promise.withResolvers<void>();
    const { promise: ended, resolve: end } = Promise.withResolvers<void>();
    using watch = new Watch(pipe.read, { readable: true }, (ready) => {
      expect(ready).toMatchObject({ readable: true, writable: false });
      const count = read(pipe.read, buffer);
      seen.push(count);
      if (count === 3) {
        watch.change({});
        pause();
      }
      if (count === 'eof') {
        watch.close();
        end();
      }
    });
    write(pipe.write, Buffer.from('one'));
    // A promise resolved in a callback goes on at once although nothing else happens in the event loop.
    await paused;
    write(pipe.write, Buffer.from('second'));
    await turn();
    await turn();
    expect(seen).toEqual([3]);
    watch.change({ readable: true });
    close(pipe.write);
    await ended;
    expect(seen).toEqual([3, 6, 'eof']);
    close(pipe.read);
  });

  it('reports a pipe without reader as writable, so that the write says EPIPE', async () => {
    const pipe = pipe2({ nonblockingWrite: true });
    while (write(pipe.write, Buffer.alloc(65536)) !== 'again');
    const error = await new Promise((resolve) => {
      const watch = new Watch(pipe.write, { writable: true }, () => {
        watch.close();
        try {
          resolve(write(pipe.write, Buffer.alloc(1)));
        } catch (cause) {
          resolve(cause);
        }
      });
      close(pipe.read);
    });
    expect(error).toMatchObject({ code: 'EPIPE' });
    close(pipe.write);
  });

  it('refuses what libuv would abort on', () => {
    const file = openSync('/dev/null', 'r');
    expect(() => new Watch(file, { readable: true }, () => {})).toThrow(/EPERM.*read it with node:fs/);
    closeSync(file);
    expect(() => new Watch(9999, { readable: true }, () => {})).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
    const pipe = pipe2();
    using _first = new Watch(pipe.read, { readable: true }, () => {});
    expect(() => new Watch(pipe.read, { readable: true }, () => {})).toThrow(
      expect.objectContaining({ code: 'EEXIST' }),
    );
    _first.close();
    using _again = new Watch(pipe.read, { readable: true }, () => {});
    _again.close();
    close(pipe.read);
    close(pipe.write);
  });
});
