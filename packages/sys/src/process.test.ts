import { readFileSync, writeSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { close, pipe2 } from './fd.ts';
import {
  getResourceLimit,
  kill,
  killGroup,
  pidfdAlive,
  pidfdOpen,
  runAheadOfChildren,
  setChildSubreaper,
  setParentDeathSignal,
  waitForExit,
} from './process.ts';
import { parseSignal, signalName } from './signals.ts';
import { openStream } from './stream.ts';
import { ended, run, shell } from './testing.ts';

describe('pidfd', () => {
  it('tells the living from the dead', async () => {
    const pid = shell('exec sleep 60');
    const pidfd = pidfdOpen(pid);
    expect(pidfdAlive(pidfd)).toBe(true);
    const exit = waitForExit(pid);
    expect(kill(pid, 'SIGRTMIN+2')).toBe(true);
    await exit;
    expect(pidfdAlive(pidfd)).toBe(false);
    close(pidfd);
    expect(await ended(pid)).toMatchObject({ signal: 'SIGRTMIN+2', signalNumber: 36 });
    expect(kill(pid, 9)).toBe(false);
    await waitForExit(pid);
    expect(() => pidfdOpen(pid)).toThrow(expect.objectContaining({ code: 'ESRCH' }));
  });

  it('stops waiting when aborted', async () => {
    const controller = new AbortController();
    const waiting = waitForExit(process.pid, controller.signal);
    controller.abort(new Error('enough'));
    await expect(waiting).rejects.toThrow('enough');
  });
});

/** proc(5), field 41 of stat: 0 ordinary, 1 SCHED_FIFO. */
const policyOf = (pid: number | string): number =>
  Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[38]);

it('lets a process run ahead, and nothing that it starts', async () => {
  const [go, told] = [pipe2(), pipe2()];
  const pid = shell(
    'read line; cut -d" " -f41 /proc/$$/stat; (read a < /proc/self/stat; echo "$a" | cut -d" " -f41)',
    {
      descriptors: { 0: go.read, 1: told.write },
    },
  );
  close(go.read);
  close(told.write);
  expect(policyOf(pid)).toBe(0);
  expect(runAheadOfChildren(pid)).toBe(true);
  writeSync(go.write, 'go\n');
  close(go.write);
  // The shell itself, and a child of it: its subshell.
  expect(await text(openStream(told.read))).toBe('1\n0\n');
  await ended(pid);
  expect(runAheadOfChildren(4_000_000)).toBe(false);
});

describe('kill', () => {
  it('reaches a whole group and refuses the special pids', async () => {
    const pid = shell('sleep 60 & wait', { processGroup: 0 });
    expect(killGroup(pid, 'TERM')).toBe(true);
    expect(await ended(pid)).toMatchObject({ signal: 'SIGTERM' });
    for (const special of [0, -1, -5, 1.5]) expect(() => kill(special, 15)).toThrow(/EINVAL/);
    expect(() => killGroup(1, 15)).toThrow(/EINVAL/);
  });
});

describe('limits and prctl', () => {
  it('reads limits as the shell sees them', async () => {
    const { output } = await run('ulimit -Sn; ulimit -Hn');
    const { soft, hard } = getResourceLimit(0, 'nofile');
    expect(output).toBe(`${soft}\n${hard}\n`);
    expect(() => getResourceLimit(4_000_000, 'nofile')).toThrow(/ESRCH/);
  });

  it('sets what concerns only this process', () => {
    setChildSubreaper(true);
    setChildSubreaper(false);
    setParentDeathSignal('SIGTERM');
    setParentDeathSignal(0);
  });
});

describe('signals', () => {
  it('reads every spelling', () => {
    for (const text of ['TERM', 'SIGTERM', 'sigterm', '15', 15, ' term ']) expect(parseSignal(text)).toBe(15);
    expect([
      parseSignal('RTMIN'),
      parseSignal('SIGRTMIN+1'),
      parseSignal('RTMAX-2'),
      parseSignal('64'),
    ]).toEqual([34, 35, 62, 64]);
    for (const text of ['', '0', '65', 'NOPE', 'SIG', 'RTMIN+31', 'RTMIN-1', '-1', '1x']) {
      expect(() => parseSignal(text)).toThrow(/unknown signal/);
    }
  });

  it('names every number so that it reads back', () => {
    for (let number = 1; number <= 64; number++) expect(parseSignal(signalName(number))).toBe(number);
    expect([signalName(6), signalName(17), signalName(29)]).toEqual(['SIGABRT', 'SIGCHLD', 'SIGIO']);
  });
});
