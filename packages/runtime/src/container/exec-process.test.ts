import { expect, test } from 'vitest';
import { execProcessSpec } from './exec-process.ts';

const base = {
  args: ['init'],
  cwd: '/srv',
  env: ['PATH=/bin'],
  terminal: true,
  consoleSize: { width: 1, height: 1 },
  user: { uid: 5, gid: 6, additionalGids: [7] },
  capabilities: { bounding: ['CAP_KILL'], effective: ['CAP_KILL'], permitted: ['CAP_KILL'] },
  noNewPrivileges: true,
  rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1, soft: 1 }],
} as never;

test("is the container's own with another command, and no terminal unless asked for", () => {
  expect(execProcessSpec(base, ['ls', '-l'], {})).toEqual({
    args: ['ls', '-l'],
    cwd: '/srv',
    env: ['PATH=/bin'],
    terminal: false,
    user: { uid: 5, gid: 6, additionalGids: [7] },
    capabilities: { bounding: ['CAP_KILL'], effective: ['CAP_KILL'], permitted: ['CAP_KILL'] },
    noNewPrivileges: true,
    rlimits: [{ type: 'RLIMIT_NOFILE', hard: 1, soft: 1 }],
  });
});

test('takes what the flags say', () => {
  const flags = {
    cwd: '/tmp',
    env: ['A=1', 'A=2'],
    tty: true,
    user: '8:9',
    'additional-gids': ['10'],
    cap: ['CAP_CHOWN'],
    'no-new-privs': false,
    apparmor: 'profile',
    'process-label': 'label',
  };
  expect(execProcessSpec(base, ['x'], flags)).toMatchObject({
    cwd: '/tmp',
    env: ['PATH=/bin', 'A=1', 'A=2'],
    terminal: true,
    user: { uid: 8, gid: 9, additionalGids: [7, 10] },
    noNewPrivileges: false,
    apparmorProfile: 'profile',
    selinuxLabel: 'label',
    capabilities: { bounding: ['CAP_KILL', 'CAP_CHOWN'], ambient: ['CAP_CHOWN'] },
  });
  expect(execProcessSpec(base, ['x'], { user: '8' }).user).toMatchObject({ uid: 8, gid: 6 });
});

test.each(['root', '1:', ':1', '-1', '1.5', '4294967295'])('the user %j is refused', (user) => {
  expect(() => execProcessSpec(base, ['x'], { user })).toThrow('is not a number from 0 to 4294967294');
});
