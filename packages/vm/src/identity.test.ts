import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import {
  endProcesses,
  findOwned,
  identify,
  isAlive,
  ownerVariable,
  signalProcess,
  waitGone,
} from './identity.ts';
import { until } from './testing.ts';

async function start(script: string, env: Record<string, string> = {}) {
  const child = spawn('sh', ['-c', script], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { PATH: '/usr/bin:/bin', ...env },
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return { child, identity: identify(child.pid!)! };
}

test('a process is known by its start time too', async () => {
  const { child, identity } = await start('echo ready; exec sleep 60');
  expect(isAlive(identity)).toBe(true);
  const other = { ...identity, startTicks: identity.startTicks - 1 };
  expect(isAlive(other)).toBe(false);
  // A pid that now belongs to another process is not signalled.
  expect(signalProcess(other, 'SIGKILL')).toBe(false);
  await endProcesses([other], 0);
  expect(isAlive(identity)).toBe(true);
  expect(await waitGone(identity, 10)).toBe(false);
  await endProcesses([identity], 1000);
  expect(isAlive(identity)).toBe(false);
  await until('exit', () => child.signalCode);
  expect(child.signalCode).toBe('SIGTERM');
});

test('what ignores SIGTERM is killed', async () => {
  const { child, identity } = await start("trap '' TERM; echo ready; while :; do sleep 60; done");
  await endProcesses([identity], 50);
  await until('exit', () => child.signalCode);
  expect(child.signalCode).toBe('SIGKILL');
});

test('a process that nobody wrote down is found by its environment, and no other', async () => {
  const folder = `/nowhere/${process.pid}`;
  const mine = await start('echo ready; exec sleep 60', { [ownerVariable]: folder });
  await start('echo ready; exec sleep 60', { [ownerVariable]: `${folder}/longer` });
  await until('the exec of sleep', () => findOwned(folder).length === 1);
  expect(findOwned(folder)).toEqual([mine.identity]);
});

test('there is no process with an impossible pid', () => {
  expect(identify(2 ** 22 + 1)).toBeUndefined();
});
