import { closeSync, fstatSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { bytesReadable, close, dup, pipe2, read, setPipeSize, write } from './fd.ts';

describe('pipe2, read, write', () => {
  it('says again, counts, FIONREAD and eof', () => {
    const pipe = pipe2({ nonblockingRead: true, nonblockingWrite: true });
    const buffer = Buffer.alloc(100);
    expect(read(pipe.read, buffer)).toBe('again');
    expect(write(pipe.write, Buffer.from('hello'))).toBe(5);
    expect(bytesReadable(pipe.read)).toBe(5);
    expect(read(pipe.read, buffer.subarray(0, 2))).toBe(2);
    expect(bytesReadable(pipe.read)).toBe(3);
    expect(read(pipe.read, buffer)).toBe(3);
    expect(buffer.toString('latin1', 0, 3)).toBe('llo');
    close(pipe.write);
    expect(read(pipe.read, buffer)).toBe('eof');
    close(pipe.read);
  });

  it('takes as much as the pipe holds and then says again', () => {
    const pipe = pipe2({ nonblockingWrite: true });
    expect(write(pipe.write, Buffer.alloc(1 << 20))).toBe(65536);
    expect(write(pipe.write, Buffer.alloc(1))).toBe('again');
    close(pipe.read);
    expect(() => write(pipe.write, Buffer.alloc(1))).toThrow(expect.objectContaining({ code: 'EPIPE' }));
    close(pipe.write);
  });
});

describe('setPipeSize', () => {
  it('makes room, and says when it could not', () => {
    const pipe = pipe2({ nonblockingWrite: true });
    expect(setPipeSize(pipe.write, 100_000)).toBe(true);
    expect(write(pipe.write, Buffer.alloc(1 << 20))).toBe(131072);
    // Less than what is in it (EBUSY).
    expect(setPipeSize(pipe.write, 4096)).toBe(false);
    for (const fd of [pipe.read, pipe.write]) closeSync(fd);
  });
});

describe('dup and close', () => {
  it('copies to a number at or above the wanted one', () => {
    const pipe = pipe2();
    const copy = dup(pipe.read, 100);
    expect(copy).toBeGreaterThanOrEqual(100);
    expect(fstatSync(copy).ino).toBe(fstatSync(pipe.read).ino);
    for (const fd of [copy, pipe.read, pipe.write]) closeSync(fd);
  });

  it('names the call, the descriptor, the error and its number', () => {
    expect(() => close(9999)).toThrow('close on descriptor 9999 failed: bad file descriptor (EBADF)');
    expect(() => dup(9999)).toThrow(expect.objectContaining({ code: 'EBADF', errno: 9, syscall: 'dup' }));
  });
});
