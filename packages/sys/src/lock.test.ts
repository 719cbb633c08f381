import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { close, pipe2 } from './fd.ts';
import { lockFile, tryLockFile } from './lock.ts';
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
