import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { close, pipe2, read, write } from './fd.ts';
import { signalName } from './signals.ts';
import { spawn } from './spawn.ts';
import { ENV, ended, run, shell, until } from './testing.ts';
import { decodeWaitStatus, waitPid } from './wait.ts';

const folder = mkdtempSync(join(tmpdir(), 'coracle-spawn-'));
afterAll(() => rmSync(folder, { recursive: true }));

const program = (file: string, cwd?: string) => () =>
  spawn({ file, args: [file], env: ENV, descriptors: {}, ...(cwd === undefined ? {} : { cwd }) });

describe('spawn', () => {
  it('passes arguments, environment, folder and output', async () => {
    const { output, status } = await run('printf "%s|%s|%s" "$0" "$A" "$PWD"', {
      env: { ...ENV, A: 'ä b' },
      cwd: folder,
    });
    expect(output).toBe(`sh|ä b|${folder}`);
    expect(status).toEqual({ kind: 'exited', code: 0 });
  });

  it('reports exit codes', async () => {
    for (const code of [0, 1, 126, 127, 128, 137, 255]) {
      expect(await ended(shell(`exit ${code}`))).toEqual({ kind: 'exited', code });
    }
  });

  it('reports death by signals, real-time ones included', async () => {
    for (const signal of [1, 2, 9, 13, 15, 34, 64]) {
      const status = await ended(shell(`kill -${signal} $$`));
      expect(status).toMatchObject({ kind: 'signalled', signal: signalName(signal), signalNumber: signal });
    }
  });

  it('resets dispositions and mask: Node ignores SIGPIPE', async () => {
    const { output } = await run('grep -E "^Sig(Ign|Blk)" /proc/self/status');
    expect(output).toMatch(/SigBlk:\s+0+\nSigIgn:\s+0+\n/);
  });

  it('gives the named descriptors only, even crossed over', async () => {
    const [one, two] = [pipe2({ nonblockingRead: true }), pipe2({ nonblockingRead: true })];
    // one.write's number is the target for two.write and the other way round
    const pid = shell(
      `echo one >/proc/self/fd/${two.write}; echo two >/proc/self/fd/${one.write}; ls /proc/self/fd >&${one.write}`,
      {
        descriptors: { [two.write]: one.write, [one.write]: two.write },
      },
    );
    await ended(pid);
    const buffer = Buffer.alloc(1000);
    const length = read(one.read, buffer) as number;
    expect(buffer.toString('latin1', 0, length)).toBe('one\n');
    const rest = buffer.toString('latin1', 0, read(two.read, buffer) as number);
    // ls has its folder open as 0, 1 or 2 if they were free; no other descriptor of ours is there
    const numbers = rest
      .split('\n')
      .slice(1)
      .filter(Boolean)
      .map(Number)
      .filter((fd) => fd > 3);
    expect(rest.startsWith('two\n')).toBe(true);
    expect(numbers.every((fd) => fd === one.write || fd === two.write || fd < 10)).toBe(true);
    for (const fd of [one.read, one.write, two.read, two.write]) close(fd);
  });

  it('starts sessions and groups', async () => {
    const session = await run('ps -o pid=,sid=,pgid= -p $$', { newSession: true });
    const group = await run('ps -o pid=,sid=,pgid= -p $$', { processGroup: 0 });
    const [pid, sid, pgid] = session.output.trim().split(/\s+/);
    expect([sid, pgid]).toEqual([pid, pid]);
    const [groupPid, groupSid, groupId] = group.output.trim().split(/\s+/);
    expect(groupId).toBe(groupPid);
    expect(groupSid).not.toBe(groupPid);
  });

  it('says what is missing or forbidden', () => {
    writeFileSync(join(folder, 'plain'), 'not a program', { mode: 0o644 });
    writeFileSync(join(folder, 'text'), 'not a program', { mode: 0o755 });
    expect(program('/no/such')).toThrow('posix_spawn on /no/such failed: no such file or directory (ENOENT)');
    expect(program(join(folder, 'plain'))).toThrow(expect.objectContaining({ code: 'EACCES', errno: 13 }));
    expect(program(join(folder, 'text'))).toThrow(expect.objectContaining({ code: 'ENOEXEC' }));
    expect(program('/bin/true', '/no/folder')).toThrow(/ENOENT.*working directory \/no\/folder/);
    expect(program('/bin/tr\0ue')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
  });

  it('leaves no pipe end behind in a child, so that the reader sees the end', async () => {
    const pipe = pipe2({ nonblockingRead: true });
    const pid = shell('exec sleep 60');
    write(pipe.write, Buffer.from('x'));
    close(pipe.write);
    const buffer = Buffer.alloc(2);
    expect(read(pipe.read, buffer)).toBe(1);
    await until(() => read(pipe.read, buffer) === 'eof');
    close(pipe.read);
    process.kill(pid);
    expect(await ended(pid)).toMatchObject({ signal: 'SIGTERM' });
  });
});

describe('wait', () => {
  it('knows running children and strangers', async () => {
    const pid = shell('exec sleep 60');
    expect(waitPid(pid)).toBeUndefined();
    process.kill(pid, 'SIGKILL');
    await ended(pid);
    expect(() => waitPid(pid)).toThrow(expect.objectContaining({ code: 'ECHILD' }));
  });

  it('decodes core dumps', () => {
    expect(decodeWaitStatus(0x8b)).toEqual({
      kind: 'signalled',
      signal: 'SIGSEGV',
      signalNumber: 11,
      coreDumped: true,
    });
  });
});
