import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import { shell, until } from './testing.ts';
import { decodeWaitStatus, type Reaped, reap, waitPid } from './wait.ts';

describe('reap', () => {
  it('takes every child, however few signals announce them', async () => {
    const wanted = new Map(Array.from({ length: 20 }, (_, code) => [shell(`exit ${code}`), code]));
    const reaped: Reaped[] = [];
    const onSignal = () => reaped.push(...reap());
    process.on('SIGCHLD', onSignal);
    reaped.push(...reap());
    await until(() => reaped.length === wanted.size);
    process.off('SIGCHLD', onSignal);
    for (const { pid, status } of reaped) {
      expect(decodeWaitStatus(status)).toEqual({ kind: 'exited', code: wanted.get(pid) });
    }
    expect(reap()).toEqual([]);
  });

  it('is woken by SIGCHLD', async () => {
    const signal = once(process, 'SIGCHLD');
    const pid = shell('exit 3');
    await signal;
    expect(decodeWaitStatus(waitPid(pid) ?? -1)).toEqual({ kind: 'exited', code: 3 });
  });
});
