/** Processes that write without end while nobody reads: everything else goes on. */
import { describe, expect, test } from 'vitest';
import { guestEnv, killPid, MiB, type SharedContainer, until, within } from './place.ts';

export function floodSuite(shared: () => SharedContainer): void {
  describe('beside floods that nobody reads', () => {
    test('execs, signals, and other streams go on, by the library and by the command line', async () => {
      const { container } = shared();
      const byLibrary = await container.exec({ args: ['yes'], env: guestEnv });
      const byCommand = shared().startExec(['yes']);
      byLibrary.stdout.pause();
      // As much as a socket and this stream take.
      byCommand.child.stdout!.once('readable', () => undefined);
      await until(() => byLibrary.stdout.readableLength > 0, 'the library has a flood');
      await until(() => byCommand.child.stdout!.readableLength > 0, 'the command line has a flood');

      const echoed = await shared().exec(['cat'], { stdin: 'through\n', deadlineMs: 20_000 });
      expect(echoed).toEqual({ code: 0, stdout: 'through\n', stderr: '' });
      const [sum, cat] = await Promise.all([
        container.exec({ args: ['sha256sum'], stdin: true, env: guestEnv }),
        container.exec({ args: ['head', '-c', String(4 * MiB), '/dev/zero'], env: guestEnv }),
      ]);
      sum.stdin.end('hello\n');
      const [summed, zeros] = await within(
        Promise.all([sum.output(), cat.output()]),
        20_000,
        'streams go on',
      );
      expect(String(summed.stdout)).toMatch(
        /^5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03/,
      );
      expect(zeros.stdout.length).toBe(4 * MiB);

      const trapper = shared().startExec([
        'sh',
        '-c',
        'trap "exit 5" USR1; echo ready; while :; do sleep 0.05; done',
      ]);
      await trapper.says('ready', 20_000);
      killPid(trapper.pid, 'SIGUSR1');
      expect(await trapper.ended(20_000)).toBe(5);

      // The floods themselves: a signal reaches each, and it ends once its output is taken.
      expect(byLibrary.signal('SIGTERM')).toBe(true);
      byLibrary.stdout.resume();
      expect(await within(byLibrary.wait(), 20_000, 'the flood ends')).toMatchObject({ signal: 'SIGTERM' });
      killPid(byCommand.pid, 'SIGTERM');
      byCommand.child.stdout!.resume();
      expect(await byCommand.ended(20_000)).toBe(143);
    });

    test('a terminal is not held up either', async () => {
      const { container } = shared();
      const flood = await container.exec({ args: ['yes'], terminal: true, env: guestEnv });
      await until(() => flood.stdout.readableLength > 0, 'there is a flood');
      const shell = await container.exec({ args: ['cat'], terminal: true, env: guestEnv });
      let shown = '';
      shell.stdout.setEncoding('latin1').on('data', (text: string) => {
        shown += text;
      });
      shell.stdin.write('typed\r');
      await until(() => shown === 'typed\r\ntyped\r\n', 'what was typed comes back');
      shell.stdin.write('\x03');
      expect(await within(shell.wait(), 20_000, 'Ctrl-C ends cat')).toMatchObject({ signal: 'SIGINT' });
      // The flood's terminal is full; Ctrl-C goes through all the same.
      flood.stdin.write('\x03');
      flood.stdout.resume();
      expect(await within(flood.wait(), 20_000, 'Ctrl-C ends the flood')).toMatchObject({ signal: 'SIGINT' });
    });
  });
}
