import { expect, test } from 'vitest';
import { orAbort } from './abort.ts';
import { execProcess } from './oci.ts';
import { checkWindowSize } from './process.ts';
import { resultOfExit } from './result.ts';
import { signalName, signalNumber } from './signals.ts';
import { checkSandboxId } from './start-sandbox.ts';
import { resolveSharePath } from './vm.ts';

test.each([
  ['exited', 0x0000, { exitCode: 0, signal: null, code: 0 }],
  ['exited', 0xff00, { exitCode: 255, signal: null, code: 255 }],
  ['signalled', 15, { exitCode: null, signal: 'SIGTERM', code: 143 }],
  // With a core dump: bit 7 is no part of the signal.
  ['signalled', 0x80 | 11, { exitCode: null, signal: 'SIGSEGV', code: 139 }],
  ['out_of_memory', 9, { exitCode: null, signal: 'SIGKILL', code: 137 }],
  ['start_failed', 127 << 8, { exitCode: 127, signal: null, code: 127 }],
] as const)('%s with wait status %i', (cause, waitStatus, expected) => {
  expect(resultOfExit({ cause, waitStatus, message: 'm' })).toEqual({ cause, message: 'm', ...expected });
});

test('signals by name and number', () => {
  expect(signalNumber('SIGTERM')).toBe(15);
  expect(signalNumber(64)).toBe(64);
  expect([signalName(6), signalName(29), signalName(34), signalName(64)]).toEqual([
    'SIGABRT',
    'SIGIO',
    'SIGRTMIN+0',
    'SIGRTMIN+30',
  ]);
  for (const wrong of [0, 65, 1.5, 'TERM', 'SIGNONE']) {
    expect(() => signalNumber(wrong as number)).toThrow(/is no signal/);
  }
});

test('an exec is the container’s process with another command', () => {
  const base = {
    args: ['init'],
    env: ['PATH=/bin', 'A=1'],
    cwd: '/srv',
    user: { uid: 5, gid: 6 },
    capabilities: { bounding: ['CAP_KILL'] },
    terminal: true,
    consoleSize: { width: 1, height: 2 },
  };
  expect(execProcess(base, { args: ['ls'], env: ['A=2', 'B=3'] })).toEqual({
    args: ['ls'],
    env: ['PATH=/bin', 'A=2', 'B=3'],
    cwd: '/srv',
    user: { uid: 5, gid: 6 },
    capabilities: { bounding: ['CAP_KILL'] },
    terminal: false,
  });
  expect(
    execProcess(undefined, { args: ['sh'], env: { B: 'x=y' }, terminal: { columns: 80, rows: 24 } }),
  ).toEqual({
    args: ['sh'],
    env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin', 'B=x=y'],
    cwd: '/',
    user: { uid: 0, gid: 0 },
    terminal: true,
    consoleSize: { width: 80, height: 24 },
  });
  expect(() => execProcess(undefined, { args: [] })).toThrow(/needs args/);
});

test('what is no size and no sandbox id', () => {
  for (const columns of [-1, 65_536, Number.NaN]) {
    expect(() => checkWindowSize({ columns, rows: 1 })).toThrow(/terminal of/);
  }
  for (const id of ['', '.', '..', 'a/b', 'a b', 'x'.repeat(129)]) {
    expect(() => checkSandboxId(id)).toThrow(/is no sandbox id/);
  }
  checkSandboxId('a..b_C-1');
});

test('paths in shares stand for host paths', () => {
  const shares = [
    {
      tag: 'host',
      binds: [
        { name: 'c/rootfs', source: '/srv/root' },
        { name: 'c/root', source: '/other' },
      ],
    },
  ];
  const at = (path: string, share = 'host') => resolveSharePath(shares, { share, path });
  expect(at('c/rootfs')).toBe('/srv/root');
  expect(at('c/rootfs/etc/passwd')).toBe('/srv/root/etc/passwd');
  expect(at('c/root/x')).toBe('/other/x');
  expect(at('elsewhere')).toBe('elsewhere');
  expect(at('c/rootfs', 'unknown')).toBe('c/rootfs');
});

test('what is still made after giving up is undone', async () => {
  const work = Promise.withResolvers<string>();
  const undone = Promise.withResolvers<string>();
  const aborting = new AbortController();
  const waiting = orAbort(work.promise, aborting.signal, async (made) => undone.resolve(made));
  aborting.abort();
  await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
  work.resolve('late');
  expect(await undone.promise).toBe('late');
  expect(await orAbort(Promise.resolve(1), new AbortController().signal)).toBe(1);
});
