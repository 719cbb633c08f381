/**
 * coracle-shim against a scripted proxy: data both ways, slow readers, broken connections at odd places,
 * every exit code and signal, terminals. The shim was written from docs/protocol.md in C; the proxy here
 * uses the TypeScript decoder and encoder, so each checks the other.
 */
import { type ChildProcess, execFileSync, type StdioOptions, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  copyFileSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { isTerminal, openPty, type Pty, PtyStream, pipe2, setWindowSize } from '@coracle/sys';
import { Code, encodeFailure, encodeFrame, FrameType } from '@coracle/wire';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { PROCESS, type ProxyOptions, ScriptedProxy } from './scripted-proxy.ts';

const root = new URL('../..', import.meta.url).pathname;
const binary = process.env.CORACLE_SHIM ?? join(root, 'bin/coracle-shim');
const TOKEN = '00112233445566778899aabbccddeeff';
/** What a shim is started with; a sanitized one also where to write what it finds (scripts/test.ts). */
const environment: NodeJS.ProcessEnv = { CORACLE_TOKEN: TOKEN };
if (process.env.ASAN_OPTIONS) environment.ASAN_OPTIONS = process.env.ASAN_OPTIONS;
const MiB = 1024 * 1024;

let folder: string;
/** A copy of the shim that every user may run, wherever the checkout is. */
let readable: string;
const children = new Set<ChildProcess>();

beforeAll(() => {
  if (!process.env.CORACLE_SHIM) execFileSync('make', ['-s', '-C', join(root, 'packages/shim')]);
});
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'coracle-shim-'));
  readable = join(folder, 'coracle-shim');
  copyFileSync(binary, readable);
  chmodSync(readable, 0o755);
});
afterEach(() => {
  for (const child of children) child.kill('SIGKILL');
  children.clear();
  rmSync(folder, { recursive: true });
});

async function until(what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`waited 20 s for: ${what}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}

interface Ending {
  code: number | null;
  signal: NodeJS.Signals | null;
}

function startShim(
  socket: string,
  args: string[] = [],
  stdio: StdioOptions = ['pipe', 'pipe', 'pipe'],
  env: NodeJS.ProcessEnv = environment,
): { child: ChildProcess; ended: Promise<Ending> } {
  const child = spawn(
    binary,
    ['--socket', socket, '--sandbox', 'box-1', '--process', `${PROCESS}`, ...args],
    {
      stdio,
      env,
    },
  );
  children.add(child);
  child.stdin?.on('error', () => {});
  const ended = once(child, 'close').then(([code, signal]) => {
    children.delete(child);
    return { code, signal } as Ending;
  });
  return { child, ended };
}

async function withProxy(options: ProxyOptions, run: (proxy: ScriptedProxy) => Promise<void>): Promise<void> {
  await using proxy = await new ScriptedProxy(join(folder, 'proxy.sock'), options).listen();
  await run(proxy);
  expect(proxy.violations).toEqual([]);
  expect(proxy.complaints).toEqual([]);
}

function collect(stream: Readable | null): { text(): string; digest(): string; bytes(): number } {
  const chunks: Buffer[] = [];
  stream?.on('data', (chunk: Buffer) => chunks.push(chunk));
  const whole = () => Buffer.concat(chunks);
  return {
    text: () => whole().toString(),
    digest: () => sha256(whole()),
    bytes: () => chunks.reduce((sum, chunk) => sum + chunk.length, 0),
  };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function residentKiB(pid: number | undefined): number {
  const line = /VmHWM:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(line?.[1]);
}

describe('attaching', () => {
  test('binds, attaches with the token, says that it is ready', async () => {
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path, ['--ready-fd', '3'], ['ignore', 'pipe', 'pipe', 'pipe']);
      const ready = collect(child.stdio[3] as Readable);
      await until('ready', () => ready.text() === '1\n');
      expect(proxy.sandbox).toBe('box-1');
      expect(proxy.token.toString('hex')).toBe(TOKEN);
      expect(readFileSync(`/proc/${child.pid}/environ`, 'latin1')).not.toContain(TOKEN);
      proxy.exit(0);
      expect(await ended).toEqual({ code: 0, signal: null });
    });
  });

  test.each([
    [
      'REFUSED',
      FrameType.REFUSED,
      Code.permission_denied,
      'wrong token',
      /refused \(permission_denied\): wrong token/,
    ],
    [
      'GOAWAY not_found',
      FrameType.GOAWAY,
      Code.not_found,
      'no sandbox box-1',
      /\(not_found\): no sandbox box-1/,
    ],
    [
      'GOAWAY unavailable',
      FrameType.GOAWAY,
      Code.unavailable,
      'it ended',
      /virtual machine is gone: it ended/,
    ],
  ])(
    '%s before ATTACHED goes to the ready descriptor and to stderr',
    async (_, type, code, text, message) => {
      const options: ProxyOptions = {
        intercept: (frame, connection) => {
          if (frame.type !== FrameType.ATTACH) return false;
          const id = type === FrameType.REFUSED ? frame.id : 0;
          connection.send({ type, id, payload: encodeFailure(code, text) });
          return true;
        },
      };
      await withProxy(options, async (proxy) => {
        const { child, ended } = startShim(
          proxy.path,
          ['--ready-fd=3', '--name', 'container abc'],
          ['ignore', 'pipe', 'pipe', 'pipe'],
        );
        const ready = collect(child.stdio[3] as Readable);
        const stderr = collect(child.stderr);
        expect(await ended).toEqual({ code: 255, signal: null });
        expect(stderr.text()).toMatch(message);
        expect(stderr.text()).toMatch(/^coracle: container abc: /);
        expect(ready.text()).toBe(stderr.text());
      });
    },
  );

  test('nobody listening and nobody to start is an error at once', async () => {
    const { child, ended } = startShim(join(folder, 'none.sock'));
    const stderr = collect(child.stderr);
    expect(await ended).toEqual({ code: 255, signal: null });
    expect(stderr.text()).toMatch(
      /connecting to the proxy at .*none\.sock failed: .*is coracle-proxy running/,
    );
  });

  test('a start program that fails is an error that names it', async () => {
    const program = join(folder, 'start');
    writeFileSync(program, '#!/bin/sh\nexit 3\n', { mode: 0o755 });
    const { child, ended } = startShim(join(folder, 'none.sock'), ['--start-proxy', program]);
    const stderr = collect(child.stderr);
    expect(await ended).toEqual({ code: 255, signal: null });
    expect(stderr.text()).toContain(`${program} ended with status 3`);
  });

  test.each([
    [['--process', '0'], /--process takes a number/],
    [['--process', '1073741824'], /--process takes a number/],
    [['--sandbox', 'a/b'], /--sandbox takes/],
    [['--ready-fd', '77'], /--ready-fd takes an open descriptor/],
    [['--nonsense'], /--nonsense is unknown/],
    [['word'], /word is not an option/],
  ])('%j is refused', async (args, message) => {
    const { child, ended } = startShim('/nowhere', args);
    const stderr = collect(child.stderr);
    expect((await ended).code).toBe(255);
    expect(stderr.text()).toMatch(message);
  });

  test('a missing token is refused', async () => {
    const { child, ended } = startShim('/nowhere', [], 'pipe', {});
    const stderr = collect(child.stderr);
    expect((await ended).code).toBe(255);
    expect(stderr.text()).toMatch(/CORACLE_TOKEN/);
  });
});

describe('bytes', () => {
  test('16 MiB each way at once are whole, and the shim stays below 1 MiB', async () => {
    const input = randomBytes(16 * MiB);
    const output = randomBytes(16 * MiB);
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path, ['--stdin']);
      const stdout = collect(child.stdout);
      child.stdin!.end(input);
      proxy.stdout(output);
      await until('both are through', () => proxy.stdinIsWhole && stdout.bytes() === output.length);
      if (!process.env.CORACLE_SHIM) expect(residentKiB(child.pid)).toBeLessThan(1024);
      proxy.exit(0);
      expect(await ended).toEqual({ code: 0, signal: null });
      expect(stdout.digest()).toBe(sha256(output));
      expect(proxy.stdinDigest()).toBe(sha256(input));
    });
  });

  test('frames may come one byte at a time', async () => {
    const output = randomBytes(5000);
    await withProxy({ pieceBytes: 1 }, async (proxy) => {
      const { child, ended } = startShim(proxy.path);
      const stdout = collect(child.stdout);
      proxy.stdout(output);
      proxy.exit(0);
      await ended;
      expect(stdout.digest()).toBe(sha256(output));
    });
  });

  test('the exit that overtakes the output waits for it', async () => {
    const output = randomBytes(3 * MiB);
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path);
      await until('attached', () => proxy.attachments === 1);
      proxy.stdout(output);
      proxy.stderr('the last words\n');
      proxy.exit(5 << 8);
      const stderr = collect(child.stderr);
      await until('stderr is here while stdout has no reader', () => stderr.text() === 'the last words\n');
      expect(child.exitCode).toBe(null);
      const stdout = collect(child.stdout);
      expect(await ended).toEqual({ code: 5, signal: null });
      expect(stdout.digest()).toBe(sha256(output));
    });
  });

  test('a reader that stops holds up only its own stream, with all rings full below 1 MiB', async () => {
    await withProxy({ stdinTakes: 0 }, async (proxy) => {
      const { child, ended } = startShim(proxy.path, ['--stdin']);
      const input = randomBytes(2 * MiB);
      child.stdin!.end(input);
      proxy.stdout(randomBytes(4 * MiB));
      await until('stdin stands at what the process takes', () => proxy.stdinExpected >= 256 * 1024);
      await until('stdout stands at its limit', () => {
        const { next, limit } = proxy.stdoutState();
        return next === limit && next > 128 * 1024;
      });
      const stderr = collect(child.stderr);
      proxy.stderr('still here\n');
      child.kill('SIGUSR1');
      await until('stderr and signals', () => stderr.text() === 'still here\n' && proxy.records.length === 1);
      if (!process.env.CORACLE_SHIM) expect(residentKiB(child.pid)).toBeLessThan(1024);
      proxy.takeStdin(Number.POSITIVE_INFINITY);
      await until('stdin goes on', () => proxy.stdinIsWhole);
      expect(proxy.stdinDigest()).toBe(sha256(input));
      proxy.exit(0);
      const stdout = collect(child.stdout);
      await ended;
      expect(stdout.bytes()).toBe(4 * MiB);
    });
  });

  test('stdin: end of file, nothing, a file, closed', async () => {
    const file = join(folder, 'input');
    writeFileSync(file, 'from a file');
    const fd = openSync(file, 'r');
    for (const [stdin, expected] of [
      ['ignore', ''],
      [fd, 'from a file'],
    ] as const) {
      await withProxy({}, async (proxy) => {
        const { ended } = startShim(proxy.path, ['--stdin'], [stdin, 'pipe', 'pipe']);
        await until('end of file', () => proxy.stdinIsWhole);
        expect(proxy.stdinHead.toString()).toBe(expected);
        proxy.exit(0);
        await ended;
      });
    }
    closeSync(fd);
    await withProxy({}, async (proxy) => {
      const command = `exec "$0" "$@" <&- >&- 2>&-`;
      const args = [
        '-c',
        command,
        binary,
        '--socket',
        proxy.path,
        '--sandbox',
        'box-1',
        '--process',
        `${PROCESS}`,
        '--stdin',
      ];
      const child = spawn('/bin/sh', args, { env: environment, stdio: 'ignore' });
      children.add(child);
      await until('end of file', () => proxy.stdinIsWhole);
      proxy.stdout('nobody hears');
      proxy.exit(9 << 8);
      const [code] = await once(child, 'close');
      expect(code).toBe(9);
    });
  });

  test('without --stdin nothing is read', async () => {
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path);
      child.stdin!.write('not for you');
      await until('attached', () => proxy.attachments === 1);
      proxy.exit(0);
      await ended;
      expect(proxy.stdinExpected).toBe(0);
      expect(proxy.stdinFinal).toBe(undefined);
    });
  });

  test('STOP of stdin: the writer sees EPIPE', async () => {
    await withProxy({ stdinStopsAt: 1 }, async (proxy) => {
      const { child, ended } = startShim(proxy.path, ['--stdin']);
      const errors: string[] = [];
      child.stdin!.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code ?? ''));
      child.stdin!.write('x');
      await until('EPIPE', () => {
        if (errors.length === 0) child.stdin!.write('more');
        return errors.length > 0;
      });
      expect(errors[0]).toBe('EPIPE');
      proxy.exit(0);
      expect((await ended).code).toBe(0);
    });
  });

  test('EPIPE on stdout: STOP, and the exit does not wait for it', async () => {
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path);
      await until('attached', () => proxy.attachments === 1);
      child.stdout!.destroy();
      proxy.stdout(randomBytes(2 * MiB));
      await until('STOP', () => proxy.stopped.length > 0);
      expect(proxy.stopped).toEqual(['stdout']);
      const stderr = collect(child.stderr);
      proxy.stderr('on stderr all is well');
      proxy.exit(13);
      expect(await ended).toEqual({ code: null, signal: 'SIGPIPE' });
      expect(stderr.text()).toBe('on stderr all is well');
    });
  });

  test('end of stdout closes it while the process goes on', async () => {
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path);
      proxy.stdout('all');
      proxy.endOutput('stdout');
      const stdout = collect(child.stdout);
      await once(child.stdout!, 'end');
      expect(stdout.text()).toBe('all');
      expect(child.exitCode).toBe(null);
      proxy.exit(0);
      await ended;
    });
  });

  test('descriptors that are shared keep their blocking mode', async () => {
    const pipe = pipe2();
    const flags = () => /flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${pipe.write}`, 'utf8'))?.[1];
    const before = flags();
    await withProxy({}, async (proxy) => {
      const { ended } = startShim(proxy.path, [], ['ignore', pipe.write, 'ignore']);
      proxy.stdout(Buffer.alloc(150_000, 'a')); // more than the pipe holds, less than pipe and window
      await until('the pipe is full', () => proxy.stdoutState().next === 150_000);
      expect(flags()).toBe(before);
      closeSync(pipe.read);
      proxy.exit(0);
      await ended;
    });
    closeSync(pipe.write);
  });

  /** The reading end of a pipe through cat(1), as a shell's pipeline has it. */
  function reader(pipe: { read: number }): ReturnType<typeof collect> & { ended: Promise<unknown> } {
    const cat = spawn('cat', [], { stdio: [pipe.read, 'pipe', 'inherit'] });
    closeSync(pipe.read);
    return { ...collect(cat.stdout), ended: once(cat, 'close') };
  }

  // Root's pipes can't be opened again by another user, which is what happens after su(1).
  test.each([
    ['pipes', undefined],
    ['pipes of another user', 65_534],
  ])('%s: whole both ways, and one stuck reader does not hold up the rest', async (_, uid) => {
    const [input, output, errors] = [pipe2(), pipe2(), pipe2()];
    const sent = randomBytes(3 * MiB);
    const said = randomBytes(3 * MiB);
    const page = Buffer.alloc(4096);
    chmodSync(folder, 0o755);
    await withProxy({}, async (proxy) => {
      chmodSync(proxy.path, 0o777);
      const args = ['--socket', proxy.path, '--sandbox', 'box-1', '--process', `${PROCESS}`, '--stdin'];
      const stdio: StdioOptions = [input.read, output.write, errors.write];
      const options = { stdio, env: environment, ...(uid === undefined ? {} : { uid }) };
      const child = spawn(readable, args, options);
      children.add(child);
      const ended = once(child, 'close');
      for (const fd of [input.read, output.write, errors.write]) closeSync(fd);
      const feeder = spawn('cat', [], { stdio: ['pipe', input.write, 'inherit'] });
      closeSync(input.write);
      feeder.stdin!.end(sent);
      proxy.stdout(said);
      await until('stdout is stuck', () => {
        const { next, limit } = proxy.stdoutState();
        return next === limit && proxy.stdinIsWhole;
      });
      // One page of room: a write of more than that would block, and all the rest with it.
      expect(readSync(output.read, page)).toBe(page.length);
      const stderr = reader(errors);
      proxy.stderr('not stuck');
      await until('stderr', () => stderr.text() === 'not stuck');
      const stdout = reader(output);
      proxy.exit(0);
      expect(await ended).toEqual([0, null]);
      await Promise.all([stdout.ended, stderr.ended]);
      expect(page.equals(said.subarray(0, page.length))).toBe(true);
      expect(stdout.digest()).toBe(sha256(said.subarray(page.length)));
      expect(proxy.stdinDigest()).toBe(sha256(sent));
    });
  });

  test('a FIFO whose writer has left is at its end', async () => {
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    const both = openSync(fifo, 'r+');
    const input = openSync(fifo, 'r');
    closeSync(both);
    const writer = openSync(fifo, 'w');
    writeSync(writer, 'words');
    closeSync(writer);
    await withProxy({}, async (proxy) => {
      const { ended } = startShim(proxy.path, ['--stdin'], [input, 'ignore', 'ignore']);
      await until('end of file', () => proxy.stdinIsWhole);
      expect(proxy.stdinHead.toString()).toBe('words');
      proxy.exit(0);
      await ended;
    });
    closeSync(input);
  });

  test('EPIPE on a pipe', async () => {
    const pipe = pipe2();
    await withProxy({}, async (proxy) => {
      const { ended } = startShim(proxy.path, [], ['ignore', pipe.write, 'ignore']);
      closeSync(pipe.write);
      await until('attached', () => proxy.attachments === 1);
      proxy.stdout(randomBytes(2 * MiB));
      await until('the pipe is full', () => proxy.stdoutState().next === proxy.stdoutState().limit);
      closeSync(pipe.read);
      await until('STOP', () => proxy.stopped.length > 0);
      proxy.exit(0);
      expect((await ended).code).toBe(0);
    });
  });

  test('a full disk is reported', async () => {
    const full = openSync('/dev/full', 'w');
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path, [], ['ignore', full, 'pipe']);
      const stderr = collect(child.stderr);
      proxy.stdout('lost');
      proxy.exit(0);
      await ended;
      expect(stderr.text()).toMatch(/writing to stdout failed: No space left on device/);
    });
    closeSync(full);
  });
});

describe('broken connections', () => {
  test.each([1, 63, 64, 65, 77, 128, 229, 1000, 33_001, 100_003])(
    'cut after every %i bytes, nothing is lost or doubled',
    async (bytes) => {
      const input = randomBytes(600_000);
      const output = randomBytes(600_000);
      // The cut moves on by itself, or a budget below one frame would never get further.
      const cutAfterBytes = (connection: number) => (connection < 12 ? bytes + connection * 7919 : undefined);
      await withProxy({ cutAfterBytes }, async (proxy) => {
        const { child, ended } = startShim(proxy.path, ['--stdin']);
        const stdout = collect(child.stdout);
        child.stdin!.end(input);
        proxy.stdout(output);
        await until('all is through', () => proxy.stdinIsWhole && stdout.bytes() === output.length);
        child.kill('SIGUSR2');
        await until('the signal', () => proxy.records.length === 1);
        proxy.exit(3 << 8);
        expect(await ended).toEqual({ code: 3, signal: null });
        expect(stdout.digest()).toBe(sha256(output));
        expect(proxy.stdinDigest()).toBe(sha256(input));
      });
    },
  );

  test.each([1, 40_000, 262_144, 300_001])('dropped after every %i bytes of stdin', async (bytes) => {
    const input = randomBytes(3 * MiB);
    const cutAfterStdinBytes = (connection: number) => (connection < 9 ? bytes : undefined);
    await withProxy({ cutAfterStdinBytes }, async (proxy) => {
      const { child, ended } = startShim(proxy.path, ['--stdin']);
      child.stdin!.end(input);
      await until('all is through', () => proxy.stdinIsWhole);
      expect(proxy.attachments).toBeGreaterThan(bytes === 300_001 ? 8 : 9);
      expect(proxy.stdinDigest()).toBe(sha256(input));
      proxy.exit(0);
      expect((await ended).code).toBe(0);
    });
  });

  test('STOP of stdout and EOF of stdin are said again', async () => {
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path, ['--stdin']);
      child.stdin!.end('all');
      child.stdout!.destroy();
      proxy.stdout('nobody hears');
      await until('both', () => proxy.stopped.length === 1 && proxy.stdinIsWhole);
      proxy.stdinFinal = undefined;
      proxy.connection!.destroy();
      await until('both again', () => proxy.stopped.length === 2 && proxy.stdinIsWhole);
      expect(proxy.stdinFinal).toBe(3);
      proxy.exit(0);
      expect((await ended).code).toBe(0);
    });
  });

  test('the proxy is killed and started again by the shim; signals in between arrive once', async () => {
    const path = join(folder, 'proxy.sock');
    const program = join(folder, 'start');
    const asked = join(folder, 'asked');
    // The program reports, and returns when the test has a proxy listening again.
    writeFileSync(
      program,
      `#!/bin/sh\ngrep SigBlk /proc/self/status > ${asked}\nwhile [ -d ${folder} ] && [ ! -S ${path} ]; do sleep 0.01; done\n`,
      {
        mode: 0o755,
      },
    );
    const proxy = await new ScriptedProxy(path).listen();
    const { child, ended } = startShim(path, ['--stdin', '--start-proxy', program]);
    const stdout = collect(child.stdout);
    proxy.stdout('before ');
    await until('before', () => stdout.text() === 'before ');
    const server = await proxy.stop();
    expect(server).toBe(undefined);
    await until('the shim starts a proxy', () => existsSync(asked));
    await until('it says what it was given', () => /SigBlk:\s+0+\n/.test(readFileSync(asked, 'utf8')));
    child.kill('SIGUSR1');
    child.stdin!.end('kept');
    await proxy.listen();
    proxy.stdout('after');
    await until('all is through', () => proxy.stdinIsWhole && proxy.records.length === 1);
    expect(proxy.stdinHead.toString()).toBe('kept');
    expect(proxy.records).toEqual([{ kind: 'signal', signal: 10 }]);
    proxy.exit(0);
    expect(await ended).toEqual({ code: 0, signal: null });
    expect(stdout.text()).toBe('before after');
    expect(proxy.violations).toEqual([]);
    await proxy.stop();
  });

  test('GOAWAY aborted: connects again', async () => {
    await withProxy({}, async (proxy) => {
      const { ended } = startShim(proxy.path);
      await until('attached', () => proxy.attachments === 1);
      proxy.connection!.goAway(Code.aborted, 'the link broke');
      await until('attached again', () => proxy.attachments === 2);
      proxy.exit(1 << 8);
      expect((await ended).code).toBe(1);
    });
  });

  test('GOAWAY unavailable: the VM is lost, never success', async () => {
    await withProxy({}, async (proxy) => {
      const exitFile = join(folder, 'exit.json');
      const { child, ended } = startShim(proxy.path, ['--name', 'container abc', '--exit-file', exitFile]);
      const stdout = collect(child.stdout);
      const stderr = collect(child.stderr);
      proxy.stdout('said before');
      await until('attached', () => stdout.text() === 'said before');
      proxy.loseVm('QEMU was killed\u001b[31m by signal 9');
      expect(await ended).toEqual({ code: 255, signal: null });
      expect(stderr.text()).toBe(
        'coracle: container abc: the virtual machine is gone: QEMU was killed?[31m by signal 9\n',
      );
      expect(JSON.parse(readFileSync(exitFile, 'utf8'))).toMatchObject({
        cause: 'vm_lost',
        exitCode: 255,
        signal: null,
      });
    });
  });

  test('DETACHED ends it', async () => {
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path);
      const stderr = collect(child.stderr);
      await until('attached', () => proxy.attachments === 1);
      proxy.send({ type: FrameType.DETACHED, id: 4 * PROCESS });
      expect((await ended).code).toBe(255);
      expect(stderr.text()).toMatch(/another client has attached/);
    });
  });

  test.each([
    ['a gap', { type: FrameType.DATA, id: 4 * PROCESS + 2, offset: 5, payload: Buffer.from('x') }, /gap/],
    [
      'too much',
      { type: FrameType.DATA, id: 4 * PROCESS + 2, offset: 2 ** 40, payload: Buffer.from('x') },
      /gap|limit/,
    ],
    [
      'another process',
      { type: FrameType.DATA, id: 4 * PROCESS + 6, payload: Buffer.from('x') },
      /another process/,
    ],
    ['the wrong way', { type: FrameType.DATA, id: 4 * PROCESS + 1, payload: Buffer.from('x') }, /other way/],
    [
      'WINDOW',
      { type: FrameType.WINDOW, id: 4 * PROCESS + 1, offset: 99, payload: Buffer.alloc(8) },
      /WINDOW/,
    ],
    ['a request', { type: FrameType.REQUEST, id: 1 }, /does not get/],
    [
      'cause 9',
      { type: FrameType.EXIT, id: 4 * PROCESS, payload: Buffer.from([9, ...Buffer.alloc(23)]) },
      /cause/,
    ],
  ] as const)('%s breaks the rules: GOAWAY, and a fresh connection', async (_, frame, complaint) => {
    await using proxy = await new ScriptedProxy(join(folder, 'proxy.sock')).listen();
    const { child, ended } = startShim(proxy.path);
    const stdout = collect(child.stdout);
    await until('attached', () => proxy.attachments === 1);
    proxy.send(frame);
    await until('attached again', () => proxy.attachments === 2);
    expect(proxy.complaints[0]).toMatch(complaint);
    proxy.stdout('fine');
    proxy.exit(0);
    expect((await ended).code).toBe(0);
    expect(stdout.text()).toBe('fine');
  });

  test('a peer that never stops breaking the rules is given up', async () => {
    const sockets = createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', (preamble) => {
        const answer = Buffer.from(preamble.subarray(0, 64));
        answer.copy(answer, 40, 24, 40);
        answer[56] = 2;
        socket.write(answer);
        socket.write(encodeFrame({ type: FrameType.RESPONSE, id: 1 }));
      });
    });
    const path = join(folder, 'mad.sock');
    await new Promise<void>((resolve) => sockets.listen(path, resolve));
    const { child, ended } = startShim(path);
    const stderr = collect(child.stderr);
    expect((await ended).code).toBe(255);
    expect(stderr.text()).toMatch(/keeps breaking the protocol/);
    sockets.close();
  });
});

describe('the end', () => {
  test('exit codes 0 to 255', async () => {
    await withProxy({}, async (proxy) => {
      proxy.exit(0);
    });
    for (let code = 0; code < 256; code++) {
      await withProxy({}, async (proxy) => {
        proxy.exit(code << 8);
        const { ended } = startShim(proxy.path, [], 'ignore');
        expect(await ended).toEqual({ code, signal: null });
      });
    }
  });

  test('death by signal is death by the same signal, without a core', async () => {
    const signals = {
      SIGHUP: 1,
      SIGINT: 2,
      SIGQUIT: 3,
      SIGILL: 4,
      SIGABRT: 6,
      SIGFPE: 8,
      SIGKILL: 9,
      SIGUSR1: 10,
    };
    const more = { SIGSEGV: 11, SIGUSR2: 12, SIGPIPE: 13, SIGALRM: 14, SIGTERM: 15, SIGXCPU: 24, SIGSYS: 31 };
    for (const [name, number] of Object.entries({ ...signals, ...more })) {
      await withProxy({}, async (proxy) => {
        const exitFile = join(folder, `exit-${name}`);
        proxy.exit(number | 0x80);
        const { ended } = startShim(proxy.path, ['--exit-file', exitFile], 'ignore');
        expect(await ended).toEqual({ code: null, signal: name });
        expect(JSON.parse(readFileSync(exitFile, 'utf8'))).toEqual({
          cause: 'signalled',
          exitCode: null,
          signal: number,
          message: '',
        });
      });
    }
  });

  test('start_failed and out_of_memory say why', async () => {
    const exitFile = join(folder, 'exit.json');
    await withProxy({}, async (proxy) => {
      proxy.exit(127 << 8, 'start_failed', 'exec "nonesuch": no such file');
      const { child, ended } = startShim(proxy.path, ['--name', 'container abc', '--exit-file', exitFile]);
      const stderr = collect(child.stderr);
      expect(await ended).toEqual({ code: 127, signal: null });
      expect(stderr.text()).toBe('coracle: exec "nonesuch": no such file\n');
      expect(JSON.parse(readFileSync(exitFile, 'utf8'))).toEqual({
        cause: 'start_failed',
        exitCode: 127,
        signal: null,
        message: 'exec "nonesuch": no such file',
      });
    });
    await withProxy({}, async (proxy) => {
      proxy.exit(9, 'out_of_memory', 'memory limit of 64 MiB');
      const { ended } = startShim(proxy.path, ['--exit-file', exitFile]);
      expect(await ended).toEqual({ code: null, signal: 'SIGKILL' });
      expect(JSON.parse(readFileSync(exitFile, 'utf8'))).toMatchObject({ cause: 'out_of_memory', signal: 9 });
    });
  });

  test('every catchable signal is forwarded, and the shim lives on', async () => {
    const forwarded = [
      1, 2, 3, 6, 10, 12, 14, 15, 16, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 32, 34, 50, 64,
    ];
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path, ['--ready-fd', '3'], ['pipe', 'pipe', 'pipe', 'pipe']);
      // Until the proxy's answer has come, SIGHUP and its like end the shim.
      const ready = collect(child.stdio[3] as Readable);
      await until('attached', () => ready.text() === '1\n');
      for (const [index, signal] of forwarded.entries()) {
        process.kill(child.pid!, signal);
        await until(`signal ${signal}`, () => proxy.records.length === index + 1);
      }
      child.kill('SIGPIPE');
      child.kill('SIGCHLD');
      child.kill('SIGUSR1');
      await until('the last one', () => proxy.records.length === forwarded.length + 1);
      expect(proxy.records).toEqual([...forwarded, 10].map((signal) => ({ kind: 'signal', signal })));
      proxy.exit(0);
      expect((await ended).code).toBe(0);
    });
  });
});

describe('terminals', () => {
  let pty: Pty;
  let screen: PtyStream;
  beforeEach(() => {
    pty = openPty({ columns: 101, rows: 37 });
    screen = new PtyStream(pty.master);
  });
  afterEach(() => {
    screen.destroy();
    closeSync(pty.slave);
  });
  const modes = () => execFileSync('stty', ['-a'], { stdio: [pty.slave, 'pipe', 'pipe'] }).toString();

  test('raw while it runs, its size at once and on SIGWINCH, restored at the end', async () => {
    const before = modes();
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(
        proxy.path,
        ['--stdin', '--terminal'],
        [pty.slave, pty.slave, pty.slave],
      );
      await until('the size', () => proxy.records.length === 1);
      expect(proxy.records).toEqual([{ kind: 'resize', columns: 101, rows: 37 }]);
      expect(modes()).toMatch(/-icanon/);
      const shown = collect(screen as unknown as Readable);
      screen.write('\x03\x1a\x04');
      await until('keys', () => proxy.stdinHead.toString() === '\x03\x1a\x04');
      proxy.stdout('line\r\n');
      await until('output', () => shown.text() === 'line\r\n');
      setWindowSize(pty.master, { columns: 66, rows: 20 });
      child.kill('SIGWINCH'); // it is not in the terminal's session here
      await until('the new size', () => proxy.records.length === 2);
      expect(proxy.records[1]).toEqual({ kind: 'resize', columns: 66, rows: 20 });
      proxy.exit(7 << 8);
      expect((await ended).code).toBe(7);
      expect(modes().replace(/rows.*columns \d+/, '')).toBe(before.replace(/rows.*columns \d+/, ''));
      expect(isTerminal(pty.slave)).toBe(true);
    });
  });

  test('restored when the shim itself crashes', async () => {
    const before = modes();
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(proxy.path, ['--terminal'], [pty.slave, pty.slave, pty.slave]);
      await until('raw', () => proxy.attachments === 1 && modes() !== before);
      child.kill('SIGSEGV');
      expect(await ended).toEqual({ code: null, signal: 'SIGSEGV' });
      expect(modes()).toBe(before);
    });
  });

  test('restored when it is ended before it was attached', async () => {
    const before = modes();
    await withProxy({ intercept: () => true }, async (proxy) => {
      const { child, ended } = startShim(proxy.path, ['--terminal'], [pty.slave, pty.slave, pty.slave]);
      await until('raw', () => proxy.connections === 1 && modes() !== before);
      child.kill('SIGTERM');
      expect(await ended).toEqual({ code: 128 + 15, signal: null });
      expect(modes()).toBe(before);
    });
  });

  test('restored when the process dies by a signal and when the VM is lost', async () => {
    const before = modes();
    for (const end of ['signal', 'vm'] as const) {
      await withProxy({}, async (proxy) => {
        const { ended } = startShim(proxy.path, ['--terminal'], [pty.slave, pty.slave, pty.slave]);
        await until('raw', () => proxy.attachments === 1 && modes() !== before);
        if (end === 'signal') proxy.exit(9);
        else proxy.loseVm();
        await ended;
        expect(modes()).toBe(before);
      });
    }
  });

  test('--console: the slave for both directions, resize and hang-up by the kernel', async () => {
    await withProxy({}, async (proxy) => {
      const { ended } = startShim(
        proxy.path,
        ['--stdin', '--terminal', '--console', '3'],
        ['ignore', 'ignore', 'ignore', pty.slave],
      );
      await until('the size', () => proxy.records.length === 1);
      const shown = collect(screen as unknown as Readable);
      screen.write('typed');
      await until('keys', () => proxy.stdinHead.toString() === 'typed');
      proxy.stdout('shown');
      await until('output', () => shown.text() === 'shown');
      setWindowSize(pty.master, { columns: 66, rows: 20 });
      await until('the new size', () => proxy.records.length === 2);
      expect(proxy.records[1]).toEqual({ kind: 'resize', columns: 66, rows: 20 });
      screen.destroy();
      await until('the hang-up and the end of stdin', () => proxy.records.length >= 3 && proxy.stdinIsWhole);
      expect(proxy.records[2]).toEqual({ kind: 'signal', signal: 1 });
      proxy.exit(0);
      expect((await ended).code).toBe(0);
    });
  });

  test('a terminal that nobody reads holds up neither signals nor stdin', async () => {
    await withProxy({}, async (proxy) => {
      const { child, ended } = startShim(
        proxy.path,
        ['--stdin', '--terminal'],
        [pty.slave, pty.slave, pty.slave],
      );
      proxy.stdout(Buffer.alloc(2 * MiB, 'y'));
      await until(
        'full',
        // The size is sent when the proxy's answer has come; until then SIGTERM ends the shim.
        () => proxy.records.length === 1 && proxy.stdoutState().next === proxy.stdoutState().limit,
      );
      screen.write('\x03');
      child.kill('SIGTERM');
      await until('both', () => proxy.stdinHead.length === 1 && proxy.records.length === 2);
      const shown = collect(screen as unknown as Readable);
      proxy.exit(0);
      expect((await ended).code).toBe(0);
      await until('all is shown', () => shown.bytes() === 2 * MiB);
    });
  });
});

afterAll(() => {
  expect(children.size).toBe(0);
});
