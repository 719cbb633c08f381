import { describe, expect, it } from 'vitest';
import { close } from './fd.ts';
import {
  getResourceLimit,
  kill,
  killGroup,
  pidfdAlive,
  pidfdOpen,
  setChildSubreaper,
  setParentDeathSignal,
  waitForExit,
} from './process.ts';
import { parseSignal, signalName } from './signals.ts';
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
