/** Through a real pty: the program behaves as if it ran here, and the terminal is given back however it ends. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setWindowSize } from '@coracle/sys';
import { describe, expect, test } from 'vitest';
import { AtTerminal } from '../support/program.ts';
import { withRunc } from './exits.ts';
import { coracleProgram, killPid, type Place, type SharedContainer, sha256, until } from './place.ts';

const size = { columns: 97, rows: 31 };

export function terminalSuite(shared: () => SharedContainer): void {
  describe('a terminal', () => {
    const at = async (args: readonly string[], use: (terminal: AtTerminal) => Promise<void>) => {
      const { place, id } = shared();
      const terminal = new AtTerminal(
        coracleProgram,
        place.arguments(['exec', '-t', id, ...args]),
        { ...place.env },
        size,
      );
      try {
        await use(terminal);
      } finally {
        terminal.close();
      }
    };

    test.each([
      ['an exit code', 'exit 7', 7],
      ['a signal', 'kill -9 $$', 137],
      ['a signal that a shell makes of a key', 'kill -INT $$', 130],
    ])('is raw while the program runs, and as before after %s', async (_, script, code) => {
      await at(['sh', '-c', `echo ready; read line; ${script}`], async (terminal) => {
        const before = await terminal.modes();
        await terminal.shows('ready\r\n');
        const raw = await terminal.modes();
        for (const mode of ['-icanon', '-echo', '-isig', '-opost', '-ixon']) expect(raw).toContain(mode);
        terminal.type('\r');
        expect(await terminal.ended()).toBe(code);
        expect(await terminal.modes()).toBe(before);
      });
    });

    test('is as before when the shim is killed', async () => {
      await at(['sh', '-c', 'echo ready; read line'], async (terminal) => {
        const before = await terminal.modes();
        await terminal.shows('ready');
        const children = readFileSync(`/proc/${terminal.pid}/task/${terminal.pid}/children`, 'utf8').trim();
        const shim = children
          .split(' ')
          .map(Number)
          .find((pid) => readFileSync(`/proc/${pid}/comm`, 'utf8') === 'coracle-shim\n');
        killPid(shim!, 'SIGKILL');
        expect(await terminal.ended()).toBe(137);
        expect(await terminal.modes()).toBe(before);
      });
    });

    test('has the size from the start, and tells of each new one', async () => {
      const script = 'trap "stty size" WINCH; stty size; while [ -z "$line" ]; do read line; done';
      await at(['sh', '-c', script], async (terminal) => {
        await terminal.shows('31 97\r\n');
        setWindowSize(terminal.master, { columns: 120, rows: 40 });
        await terminal.shows('40 120\r\n');
        setWindowSize(terminal.master, { columns: 300, rows: 5 });
        await terminal.shows('5 300\r\n');
        terminal.type('x\r');
        expect(await terminal.ended()).toBe(0);
      });
    });

    test('makes a signal of Ctrl-C and of Ctrl-backslash, and an end of Ctrl-D', async () => {
      await at(['sh', '-c', 'echo ready; exec sleep 1000'], async (terminal) => {
        await terminal.shows('ready');
        terminal.type('\x03');
        expect(await terminal.ended()).toBe(130);
      });
      await at(['sh', '-c', 'ulimit -c 0; echo ready; exec sleep 1000'], async (terminal) => {
        await terminal.shows('ready');
        terminal.type('\x1c');
        expect(await terminal.ended()).toBe(131);
      });
      await at(['sh', '-c', 'echo ready; exec cat'], async (terminal) => {
        await terminal.shows('ready');
        terminal.type('word\r');
        await terminal.shows('word\r\nword\r\n');
        terminal.type('\x04');
        expect(await terminal.ended()).toBe(0);
        expect(terminal.shown).toBe('ready\r\nword\r\nword\r\n');
      });
    });

    test('has job control', async () => {
      await at(['sh', '-i'], async (terminal) => {
        await terminal.shows('/ # ');
        expect(terminal.shown).not.toContain('job control turned off');
        terminal.type('sleep 1000\r');
        await terminal.shows('sleep 1000\r\n');
        // The shell has to have given the terminal to its job, or the key would be its own.
        await foreground(shared(), 'sleep');
        terminal.type('\x1a');
        await terminal.shows(/Stopped +sleep 1000/);
        terminal.type('jobs; echo s=$?\r');
        await terminal.shows('s=0\r\n');
        terminal.type('fg\r');
        await terminal.shows(/fg\r\nsleep 1000\r\n/);
        await foreground(shared(), 'sleep');
        terminal.type('\x03');
        terminal.type('echo code=$?\r');
        await terminal.shows('code=130\r\n');
        terminal.type('exit 9\r');
        expect(await terminal.ended()).toBe(9);
      });
    });

    test('carries every byte, both ways', async () => {
      const bytes = Buffer.from(Array.from({ length: 256 * 16 }, (_, n) => (n * 7 + (n >> 8)) & 0xff));
      writeFileSync(join(shared().place.rootfs, 'tmp/all-bytes'), bytes);
      const script = `stty raw -echo; echo ready; head -c ${bytes.length} | sha256sum; cat /tmp/all-bytes; echo done`;
      await at(['sh', '-c', script], async (terminal) => {
        await terminal.shows('ready\n');
        terminal.type(bytes as unknown as string);
        await terminal.shows('done\n');
        expect(await terminal.ended()).toBe(0);
        const sum = sha256().update(bytes).digest('hex');
        expect(terminal.shown === `ready\n${sum}  -\n${bytes.toString('latin1')}done\n`).toBe(true);
      });
    });

    test('has the modes that runc gives it, and shows a full-screen program as with runc', async () => {
      const { place, id } = shared();
      writeFileSync(
        join(place.rootfs, 'tmp/text'),
        Array.from({ length: 50 }, (_, n) => `line ${n} äöü\n`).join(''),
      );
      await withRunc(place, async (runcId) => {
        const screens = [];
        // runc sets the size while the program starts already: it is waited for there. Ours is set first.
        for (const [file, args, first] of [
          [coracleProgram, place.arguments(['exec', '-t', id]), ''],
          [
            '/usr/sbin/runc',
            place.runcArguments(['exec', '-t', runcId]),
            'until [ -n "$(stty size 2>/dev/null)" ]; do :; done; ',
          ],
        ] as const) {
          const script = `${first}stty -a; vi /tmp/text; echo left`;
          const terminal = new AtTerminal(file, [...args, 'sh', '-c', script], { ...place.env }, size);
          try {
            await terminal.shows('line 20');
            await terminal.shows(/text.*1\/50/);
            terminal.type('G');
            await terminal.shows('50/50');
            terminal.type(':q\r');
            expect(await terminal.ended()).toBe(0);
            await terminal.shows('left\r\n');
            // runc clears onlcr in the container and leaves it to the host's terminal; an engine's is as ours.
            screens.push(terminal.shown.replace('-onlcr', 'onlcr'));
          } finally {
            terminal.close();
          }
        }
        expect(screens[0]).toBe(screens[1]);
      });
    });
  });
}

/** Waits until a process of this name is in the foreground of its terminal (proc(5): tpgid is its group). */
async function foreground({ container }: SharedContainer, name: string): Promise<void> {
  const script = `for p in /proc/[0-9]*/stat; do read pid comm state ppid group session tty tpgid rest < $p &&
    [ "$comm" = "(${name})" ] && [ "$state" = S ] && [ "$tpgid" = "$group" ] && echo yes; done; true`;
  await until(async () => {
    const check = await container.exec({ args: ['sh', '-c', script], env: ['PATH=/bin'] });
    return String((await check.output()).stdout).includes('yes');
  }, `${name} is in the foreground`);
}

export function terminalRunSuite(place: () => Place): void {
  describe('run at a terminal', () => {
    test('gives the exit code, and leaves terminal and machine as before', async () => {
      await atRun(place(), 'stty size; read line; exit 11', async (terminal) => {
        await terminal.shows('31 97\r\n');
        terminal.type('\r');
        expect(await terminal.ended()).toBe(11);
      });
    });

    test('gives the terminal back when the VM is killed, and says so', async () => {
      await atRun(place(), 'echo ready; read line', async (terminal, id) => {
        await terminal.shows('ready');
        killPid(place().vmPid(id), 'SIGKILL');
        expect(await terminal.ended()).toBe(255);
        await terminal.shows(/the (VM|virtual machine) is gone/);
        if (place().driver === 'local') place().killStrays();
      });
    });

    test('gives the terminal back when it is interrupted by its key before the program runs', async () => {
      await atRun(place(), 'exit 130', async (terminal) => {
        await until(() => place().left().length > 0, 'it has begun');
        terminal.type('\x03');
        expect(await terminal.ended()).toBe(130);
      });
    });
  });
}

async function atRun(place: Place, script: string, use: (terminal: AtTerminal, id: string) => Promise<void>) {
  const id = place.newId();
  const bundle = place.terminalBundle(['sh', '-c', script]);
  const terminal = new AtTerminal(
    coracleProgram,
    place.arguments(['run', '--bundle', bundle, id]),
    { ...place.env },
    size,
  );
  try {
    const before = modesOf(terminal);
    await use(terminal, id);
    expect(modesOf(terminal)).toBe(before);
  } finally {
    terminal.close();
  }
  await place.expectNothingLeft();
}

/** At once, so that it is before the program has been able to change anything. */
const modesOf = (terminal: AtTerminal): string =>
  execFileSync('/bin/stty', ['-F', terminal.slavePath, '-a'], { encoding: 'utf8' });
