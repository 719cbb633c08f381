/**
 * Every kind of stdin with every way to start a process: nothing hangs, and output and exit code are runc's.
 * The oracle runs the same bundle and the same exec in the same run.
 */
import { closeSync, openSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import {
  close,
  decodeWaitStatus,
  kill,
  openPty,
  PtyStream,
  pipe2,
  spawn,
  waitForExit,
  waitPid,
} from '@coracle/sys';
import { describe, expect, test } from 'vitest';
import { withRunc } from './exits.ts';
import { coracleProgram, type Place, type SharedContainer, until, within } from './place.ts';

const deadlineMs = 30_000;

interface Kind {
  readonly name: string;
  /** Reads until the end, or as far as it can without one. */
  readonly script: string;
  /** With a terminal nothing ends but by a key, so what waits for an end would wait for ever, as with runc. */
  readonly terminalScript: string;
  /** @returns descriptor 0, none for a closed one, and what to close when all is over */
  readonly open: (place: Place, way: Way) => Opened;
  /** What the oracle gets, where it is another. */
  readonly oracle?: () => Opened;
}

interface Opened {
  readonly fd?: number;
  /** Typed at the terminal that is descriptors 1 and 2, which then is 0 too. */
  readonly typed?: string;
  readonly close: () => void;
}

const line = 'read line; echo "<$line>"; echo end';
const kinds: readonly Kind[] = [
  {
    name: 'at its end',
    script: 'cat; echo end',
    terminalScript: 'echo end',
    open: () => {
      const { read, write } = pipe2();
      close(write);
      return { fd: read, close: () => close(read) };
    },
  },
  {
    name: 'open and never written',
    script: 'echo end',
    terminalScript: 'echo end',
    open: () => {
      const { read, write } = pipe2();
      return { fd: read, close: () => [read, write].forEach(close) };
    },
  },
  {
    // As if it were /dev/null. runc built with Go before 1.20 leaves descriptor 0 to chance, so it is given that.
    name: 'closed',
    script: 'cat; echo end',
    terminalScript: 'echo end',
    open: () => ({ close() {} }),
    oracle: devNull,
  },
  {
    name: 'closed early by the process',
    script: 'exec <&-; echo end',
    terminalScript: 'exec <&-; echo end',
    // A terminal would echo what comes before it is closed, or not.
    open: (_, way) => pipeWith(way === 'with a terminal' ? '' : 'x'.repeat(60_000)),
  },
  {
    name: 'a pipe with data',
    script: 'cat; echo end',
    terminalScript: line,
    open: () => pipeWith('some data\n'),
  },
  {
    name: 'a regular file',
    script: 'cat; echo end',
    terminalScript: line,
    open: (place) => {
      const path = join(place.folder, 'stdin-file');
      writeFileSync(path, 'from a file\n');
      const fd = openSync(path, 'r');
      return { fd, close: () => closeSync(fd) };
    },
  },
  {
    name: '/dev/null',
    script: 'cat; echo end',
    terminalScript: 'echo end',
    open: devNull,
  },
  {
    name: 'a terminal',
    script: 'cat; echo end',
    terminalScript: line,
    open: (_, way) => {
      // With a terminal it is the same one as descriptors 1 and 2.
      if (way === 'with a terminal') return { typed: 'typed\n', close() {} };
      const { master, slave } = openPty();
      writeSync(master, 'typed\n\x04');
      return { fd: slave, close: () => [master, slave].forEach(close) };
    },
  },
];

function devNull() {
  const fd = openSync('/dev/null', 'r');
  return { fd, close: () => closeSync(fd) };
}

function pipeWith(text: string) {
  const { read, write } = pipe2();
  writeSync(write, text);
  close(write);
  return { fd: read, close: () => close(read) };
}

type Way = 'in the foreground' | 'with a terminal' | 'detached';
const ways: readonly Way[] = ['in the foreground', 'with a terminal', 'detached'];

export function stdinExecSuite(shared: () => SharedContainer): void {
  describe('stdin of exec', () => {
    test('is as with runc, of every kind in every way', { timeout: 240_000 }, async () => {
      const { place, id } = shared();
      await withRunc(place, async (runcId) => {
        for (const kind of kinds) {
          for (const way of ways) {
            const flags = { 'in the foreground': [], 'with a terminal': ['-t'], detached: ['-d'] }[way];
            const program = ['sh', '-c', way === 'with a terminal' ? kind.terminalScript : kind.script];
            const ours = await launch(
              place,
              kind,
              way,
              coracleProgram,
              place.arguments(['exec', ...flags, id, ...program]),
            );
            const theirs = await launch(
              place,
              kind,
              way,
              '/usr/sbin/runc',
              place.runcArguments(['exec', ...flags, runcId, ...program]),
            );
            expect({ stdin: kind.name, way, ...lines(ours) }).toEqual({
              stdin: kind.name,
              way,
              ...lines(theirs),
            });
            expect(ours.output).toContain('end');
          }
        }
      });
    });
  });
}

/**
 * Without the terminal's carriage returns. runc clears onlcr in the container while the program may run already, so
 * a line that comes early gets its return twice; which modes a terminal has is compared in terminal.ts.
 */
function lines<T extends { output: string }>(ended: T): T {
  return { ...ended, output: ended.output.replaceAll(/\r+\n/g, '\n') };
}

export function stdinRunSuite(place: () => Place): void {
  describe('stdin of run', () => {
    // A VM for each row: there some rows must do, exec has them all.
    const rows = () =>
      kinds
        .flatMap((kind) => ways.map((way) => ({ kind, way })))
        .filter(({ kind, way }) => {
          if (place().driver === 'local') return true;
          const some = {
            'in the foreground': 'a pipe with data',
            'with a terminal': 'a terminal',
            detached: 'at its end',
          };
          return some[way] === kind.name;
        });

    test('is as with runc, of every kind in every way', { timeout: 240_000 }, async () => {
      for (const { kind, way } of rows()) {
        const program = ['sh', '-c', way === 'with a terminal' ? kind.terminalScript : kind.script];
        const bundle = way === 'with a terminal' ? place().terminalBundle(program) : place().bundle(program);
        const flags = way === 'detached' ? ['-d'] : [];
        const id = place().newId();
        const command = ['run', ...flags, '--bundle', bundle, id];
        const ours = await launch(place(), kind, way, coracleProgram, place().arguments(command));
        const theirs = await launch(place(), kind, way, '/usr/sbin/runc', place().runcArguments(command));
        expect({ stdin: kind.name, way, ...ours }).toEqual({ stdin: kind.name, way, ...theirs });
        expect(ours.output).toContain('end');
        if (way === 'detached') {
          expect((await place().coracle(['delete', '--force', id])).code).toBe(0);
          await place().runc(['delete', '--force', id]);
        }
        await place().expectNothingLeft();
      }
    });
  });
}

/** Runs a program with this stdin to its end, and with `detached` to the end of what it has started. */
async function launch(place: Place, kind: Kind, way: Way, file: string, args: readonly string[]) {
  const stdin = file === coracleProgram ? kind.open(place, way) : (kind.oracle ?? kind.open)(place, way);
  const collected = way === 'with a terminal' ? collectTerminal() : collectFile(place);
  const fd0 = stdin.typed === undefined ? stdin.fd : collected.fd;
  if (stdin.typed !== undefined) collected.type(stdin.typed);
  const descriptors = {
    ...(fd0 === undefined ? {} : { 0: fd0 }),
    1: collected.fd,
    2: collected.fd,
  };
  const argv = fd0 === undefined ? ['/bin/sh', '-c', 'exec "$@" <&-', 'sh', file, ...args] : [file, ...args];
  const pid = spawn({
    file: argv[0]!,
    args: argv,
    env: { ...place.env },
    descriptors,
    newSession: true,
  });
  try {
    await within(waitForExit(pid), deadlineMs, `${kind.name}, ${way}: ${argv.join(' ')} ends`);
    const status = decodeWaitStatus(waitPid(pid)!);
    if (way === 'detached') {
      await until(
        () => collected.text().includes('end\n'),
        `${kind.name}: ${argv.join(' ')} says end, not ${collected.text()}`,
      );
    }
    return { status, output: comparable(await collected.end(), file, way) };
  } catch (error) {
    kill(pid, 'SIGKILL');
    throw new Error(`${(error as Error).message}; it said ${JSON.stringify(collected.text())}`);
  } finally {
    stdin.close();
  }
}

/**
 * runc leaves a newline to the host's terminal, which it gives back while the last one may be on its way; and a VM
 * that boots says so at a terminal, and takes it away again.
 */
function comparable(output: string, file: string, way: Way): string {
  if (way !== 'with a terminal') return output;
  if (file !== coracleProgram) return output.replace(/\r?\n/g, '\r\n');
  return output.replaceAll(progress, '');
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: what clears a line of the terminal
const progress = /\r\x1b\[K(coracle: [^\r\n]*)?/g;

function collectFile(place: Place) {
  const path = join(place.folder, 'launch-output');
  const fd = openSync(path, 'w');
  const text = () => readFileSync(path, 'latin1');
  return {
    fd,
    text,
    type() {},
    async end() {
      closeSync(fd);
      return text();
    },
  };
}

/** A host terminal for descriptors 1 and 2. */
function collectTerminal() {
  const { master, slave } = openPty({ columns: 97, rows: 31 });
  const stream = new PtyStream(master);
  let shown = '';
  const ended = new Promise((resolve) => stream.on('close', resolve));
  stream.on('data', (bytes: Buffer) => {
    shown += bytes.toString('latin1');
  });
  stream.on('error', () => undefined);
  return {
    fd: slave,
    text: () => shown,
    type: (text: string) => stream.write(text),
    async end() {
      close(slave);
      await within(ended, deadlineMs, 'nobody has the terminal open any more');
      return shown;
    },
  };
}
