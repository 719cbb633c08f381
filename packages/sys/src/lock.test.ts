import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { close, pipe2 } from './fd.ts';
import { adoptLock, lockFile, tryLockFile } from './lock.ts';
import { openStream } from './stream.ts';
import { ended, shell } from './testing.ts';

const folder = mkdtempSync(join(tmpdir(), 'coracle-lock-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('lockFile', () => {
  it('excludes another process until that one dies', async () => {
    const path = join(folder, 'between');
    const pipe = pipe2();
    const pid = shell(`exec 9>${path}; flock 9; echo held; exec sleep 60`, {
      descriptors: { 1: pipe.write },
    });
    close(pipe.write);
    const output = openStream(pipe.read);
    await once(output, 'data');
    expect(tryLockFile(path)).toBeUndefined();
    const waiting = lockFile(path);
    process.kill(pid, 'SIGKILL');
    using lock = await waiting;
    expect(lock.path).toBe(path);
    await ended(pid);
    output.destroy();
  });

  it('shares, aborts, and releases once', async () => {
    const path = join(folder, 'shared');
    using first = await lockFile(path, { exclusive: false });
    using second = await lockFile(path, { exclusive: false });
    await expect(lockFile(path, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
    first.release();
    first.release();
    second.release();
    using third = tryLockFile(path);
    expect(third).toBeDefined();
  });

  it('does not hold a file that is gone', async () => {
    const path = join(folder, 'removed');
    const old = await lockFile(path);
    rmSync(path);
    using fresh = tryLockFile(path);
    expect(fresh).toBeDefined();
    old.release();
    expect(tryLockFile(path)).toBeUndefined();
    await expect(lockFile(join(folder, 'no', 'lock'))).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('adoptLock', () => {
  it('keeps the lock that a parent took', async () => {
    const path = join(folder, 'given');
    const here = new URL('./lock.ts', import.meta.url).pathname;
    const program = `
      const { adoptLock } = await import(process.argv[1]);
      const lock = adoptLock(process.argv[2], 9);
      console.log(lock ? "mine" : "not mine");
      setInterval(() => {}, 1000);`;
    const pipe = pipe2();
    const script = `exec 9>${path}; flock -n 9; exec ${process.execPath} --input-type=module -e "$1" ${here} ${path}`;
    const pid = shell(`set -- '${program}'; ${script}`, { descriptors: { 1: pipe.write } });
    close(pipe.write);
    const output = openStream(pipe.read);
    const [said] = await once(output, 'data');
    expect(String(said)).toBe('mine\n');
    expect(tryLockFile(path)).toBeUndefined();
    process.kill(pid, 'SIGKILL');
    await ended(pid);
    output.destroy();
    tryLockFile(path)!.release();
  });

  it('is no lock when the descriptor is closed, or of another file, or somebody else has the lock', () => {
    const path = join(folder, 'not-given');
    using held = tryLockFile(path);
    expect(held?.path).toBe(path);
    const same = openSync(path, 'r');
    expect(adoptLock(path, same)).toBeUndefined();
    expect(adoptLock(join(folder, 'other'), same)).toBeUndefined();
    closeSync(same);
    expect(adoptLock(path, 9999)).toBeUndefined();
  });
});
