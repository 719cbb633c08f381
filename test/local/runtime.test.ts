/**
 * The command line over the local driver: what an engine or a person at a shell sees, beside what runc does with
 * the same bundle where it answers. After every test nothing may be left.
 */
import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  existsSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { acceptDescriptor, PtyStream, setWindowSize } from '@coracle/sys';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { killPid } from '../support/processes.ts';
import { type Ended, type RunOptions, run } from '../support/program.ts';
import { until } from './local-sandbox.ts';
import { coracle, RuntimePlace } from './runtime-place.ts';

// biome-ignore lint/suspicious/noExplicitAny: tests put wrong types into it on purpose
type Config = any;

let place: RuntimePlace;
let counter = 0;
const newId = () => `c${++counter}`;

beforeAll(() => {
  place = new RuntimePlace();
});
afterEach(async () => {
  await until(() => place.leftovers().length === 0, 'nothing is left behind').catch(async (error) => {
    const left = place.leftovers().join('\n');
    // The next test starts clean.
    for (const name of place.ids()) await place.coracle(['delete', '--force', name]);
    throw new Error(`${error.message}: ${left}`);
  });
});
afterAll(async () => {
  await place[Symbol.asyncDispose]();
});

/** The same bundle and command by runc. */
function runc(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  return run('runc', ['--root', join(place.folder, 'runc'), ...args], { ...options, env: place.env });
}

const bothRun = async (bundle: string, options: RunOptions = {}) => {
  const id = newId();
  const ours = await place.coracle(['run', '--bundle', bundle, id], options);
  const theirs = await runc(['run', '--bundle', bundle, id], options);
  return { ours, theirs };
};

describe('run', () => {
  test.each([
    ['output', 'echo out; echo err >&2'],
    ['code 0', 'true'],
    ['code 1', 'exit 1'],
    ['code 126', 'exit 126'],
    ['code 127', 'exit 127'],
    ['code 255', 'exit 255'],
    ['a handled signal', 'trap "exit 3" USR1; kill -USR1 $$'],
    ['the end of a fast process', 'seq 1 20000'],
    ['no newline at the end', 'printf abc'],
  ])('gives what runc gives: %s', async (_, script) => {
    const { ours, theirs } = await bothRun(place.bundle(['sh', '-c', script]));
    expect(ours).toEqual(theirs);
  });

  test.each<[string, string[], RunOptions]>([
    ['data and its end', ['sha256sum'], { stdin: 'hello\n' }],
    ['/dev/null', ['cat'], { stdin: 'null' }],
    ['an empty pipe', ['cat'], { stdin: '' }],
    ['closed', ['cat'], { stdin: 'closed' }],
    ['open and never written', ['true'], { stdin: 'open' }],
    ['more than the process reads', ['head', '-c', '3'], { stdin: Buffer.alloc(4 << 20, 0x61) }],
  ])('stdin: %s', async (_, args, options) => {
    const { ours, theirs } = await bothRun(place.bundle(args), options);
    expect(ours).toEqual(theirs);
  });

  test('4 MiB go through it whole', async () => {
    const bytes = randomBytes(4 << 20).toString('base64');
    const { code, stdout } = await place.coracle(['run', '-b', place.bundle(['cat']), newId()], {
      stdin: bytes,
    });
    expect(code).toBe(0);
    expect(stdout === bytes).toBe(true);
  });

  test('hands signals on, each once', async () => {
    const script =
      'trap "echo term" TERM; trap "echo int; exit 4" INT; echo ready; while :; do sleep 0.05; done';
    let stdout = '';
    const bundle = place.bundle(['sh', '-c', script]);
    const ended = await place.coracle(['run', '-b', bundle, newId()], {
      onStart: (child) => {
        child.stdout!.on('data', (text: string) => {
          stdout += text;
          if (text.includes('ready')) child.kill('SIGTERM');
          if (text.includes('term')) child.kill('SIGINT');
        });
      },
    });
    expect(ended).toEqual({ code: 4, stdout: 'ready\nterm\nint\n', stderr: '' });
    expect(stdout).toBe(ended.stdout);
  });

  test('ends at once with 255 when the agent is killed', async () => {
    const id = newId();
    const bundle = place.bundle(['sh', '-c', 'echo ready; sleep 1000']);
    const ended = await place.coracle(['run', '-b', bundle, id], {
      onStart: (child) => {
        child.stdout!.once('data', () => {
          const { sandboxDirectory } = JSON.parse(readFileSync(join(place.root, id, 'state.json'), 'utf8'));
          const { main } = JSON.parse(readFileSync(join(sandboxDirectory, 'vm.json'), 'utf8'));
          process.kill(main.pid, 'SIGKILL');
        });
      },
    });
    expect(ended.code).toBe(255);
    expect(ended.stderr).toMatch(/^coracle: container .*VM.* gone/m);
    // Without a VM around them the container's processes outlive their agent.
    for (const line of place.processes()) process.kill(Number(line.split(' ')[0]), 'SIGKILL');
    killStrays(place.rootfs);
  });
});

/** Processes whose root is the folder: containers of an agent that was killed. */
function killStrays(rootfs: string): void {
  const script = `for p in /proc/[0-9]*; do [ "$(readlink $p/root)" = ${rootfs} ] && kill -9 \${p#/proc/}; done; true`;
  execFileSync('/bin/sh', ['-c', script]);
}

describe('bad input', () => {
  const config = (text: string) => () => {
    const folder = place.bundle(['true']);
    writeFileSync(join(folder, 'config.json'), text);
    return folder;
  };
  const changed = (change: (config: Config) => void) => () => place.bundle(['true'], change);

  test.each<[string, () => string, number, RegExp]>([
    ['no bundle', () => '/nonexistent', 1, /bundle.*\/nonexistent.*no such file/i],
    ['a bundle that is a file', () => '/etc/passwd', 1, /bundle.*\/etc\/passwd.*not a folder/],
    [
      'no config.json',
      () => {
        const folder = place.bundle(['true']);
        unlinkSync(join(folder, 'config.json'));
        return folder;
      },
      1,
      /config\.json not found/,
    ],
    ['an empty config.json', config(''), 1, /config\.json is not JSON: line 1, column 1/],
    ['broken JSON', config('{\n  "process": [1,\n}'), 1, /config\.json is not JSON: line 3, column 1/],
    ['JSON that is no object', config('[]'), 1, /must be an object, not an array/],
    ['nothing in it', config('{}'), 1, /ociVersion is missing/],
    ['no process', changed((c: Config) => delete c.process), 1, /process is missing/],
    ['no args', changed((c: Config) => delete c.process.args), 1, /process\.args is missing/],
    ['empty args', changed((c: Config) => (c.process.args = [])), 1, /process\.args must not be empty/],
    [
      'args of a wrong type',
      changed((c: Config) => (c.process.args = 'sh')),
      1,
      /process\.args must be an array, not a string/,
    ],
    [
      'an arg of a wrong type',
      changed((c: Config) => (c.process.args = ['sh', 1])),
      1,
      /process\.args\[1\] must be a string, not a number/,
    ],
    [
      'env of a wrong type',
      changed((c: Config) => (c.process.env = { A: 'b' })),
      1,
      /process\.env must be an array, not an object/,
    ],
    [
      'a relative cwd',
      changed((c: Config) => (c.process.cwd = 'tmp')),
      1,
      /process\.cwd must be an absolute path/,
    ],
    [
      'terminal of a wrong type',
      changed((c: Config) => (c.process.terminal = 'yes')),
      1,
      /process\.terminal must be true or false/,
    ],
    [
      'a uid of a wrong type',
      changed((c: Config) => (c.process.user.uid = 'root')),
      1,
      /process\.user\.uid must be a whole number/,
    ],
    [
      'mounts of a wrong type',
      changed((c: Config) => (c.mounts = {})),
      1,
      /mounts must be an array, not an object/,
    ],
    [
      'a memory limit of a wrong type',
      changed((c: Config) => (c.linux.resources = { memory: { limit: '1g' } })),
      1,
      /linux\.resources\.memory\.limit must be a whole number/,
    ],
    [
      'a rootfs that does not exist',
      changed((c: Config) => (c.root.path = 'nope')),
      1,
      /invalid rootfs: .*nope/,
    ],
    [
      'a bind source that does not exist',
      changed((c: Config) =>
        c.mounts.push({ destination: '/x', type: 'bind', source: '/nonexistent', options: ['bind'] }),
      ),
      1,
      /mounts\[3\].*\/nonexistent/,
    ],
    [
      'a version of the future',
      changed((c: Config) => (c.ociVersion = '2.0.0')),
      1,
      /ociVersion "2\.0\.0" is not supported/,
    ],
    [
      'a command that does not exist',
      changed((c: Config) => (c.process.args = ['nope'])),
      127,
      /nope.*(not found|no such file)/i,
    ],
    [
      'a path that does not exist',
      changed((c: Config) => (c.process.args = ['/nope'])),
      127,
      /nope.*(not found|no such file)/i,
    ],
    [
      'a command that may not run',
      changed((c: Config) => (c.process.args = ['/bin/plain-file'])),
      126,
      /plain-file.*(denied|not permitted)/i,
    ],
    [
      'a folder as the command',
      changed((c: Config) => (c.process.args = ['/bin'])),
      126,
      /\/bin.*(denied|not permitted|directory)/i,
    ],
    [
      'a terminal without a console when detached',
      changed((c: Config) => (c.process.terminal = true)),
      1,
      /cannot allocate tty if coracle will detach without setting console socket/,
    ],
  ])('%s', async (_, bundle, code, message) => {
    for (const command of [['run', '-d'], ['create']]) {
      const ended = await place.coracle([...command, '--bundle', bundle(), newId()]);
      expect(ended).toMatchObject({ code, stdout: '' });
      expect(ended.stderr).toMatch(/^coracle: /);
      expect(ended.stderr).toMatch(message);
      expect(ended.stderr).not.toContain('    at ');
    }
  });

  test.each(['a/b', '..', '.', '', 'a b', '../../etc', 'é', 'x'.repeat(300)])('the id %j', async (id) => {
    const { code, stderr } = await place.coracle(['run', '--bundle', place.bundle(['true']), id]);
    expect(code).toBe(1);
    expect(stderr).toContain('invalid container ID format');
  });

  test('an id in use', async () => {
    const id = newId();
    expect((await place.coracle(['run', '-d', '-b', place.bundle(['sleep', '1000']), id])).code).toBe(0);
    const again = await place.coracle(['run', '-b', place.bundle(['true']), id]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('container with given ID already exists');
    expect((await place.coracle(['delete', '--force', id])).code).toBe(0);
  });

  test.each<[string[], number, RegExp]>([
    [['bogus'], 3, /there is no command "bogus"/],
    [['run'], 1, /"run" requires exactly 1 argument/],
    [['run', '--bogus', 'x'], 1, /flag provided but not defined: -bogus/],
    [['run', '--bundle'], 1, /flag needs an argument: -bundle/],
    [['run', '--preserve-fds', '1', 'x'], 1, /--preserve-fds 1 cannot be done/],
    [['state', 'nope'], 1, /"nope" does not exist/],
    [['start', 'nope'], 1, /"nope" does not exist/],
    [['kill', 'nope'], 1, /"nope" does not exist/],
    [['delete', 'nope'], 1, /"nope" does not exist/],
    [['delete', '--force', 'nope'], 0, /^$/],
    [['exec', 'nope', 'ls'], 255, /"nope" does not exist/],
    [['exec', 'nope'], 255, /args cannot be empty/],
    [['list', '--format', 'xml'], 1, /invalid format option "xml"/],
    [['--log-format', 'xml', 'list'], 1, /unknown log format "xml"/],
  ])('%j', async (args, code, message) => {
    const ended = await place.coracle(args);
    expect(ended).toMatchObject({ code, stdout: '' });
    expect(ended.stderr).toMatch(message);
  });

  test('settings that make no sense', async () => {
    for (const [name, value] of [
      ['CORACLE_DRIVER', 'xen'],
      ['CORACLE_RUN', 'relative'],
      ['CORACLE_BOOT_TIMEOUT_MS', 'soon'],
    ] as const) {
      const ended = await place.coracle(['run', '-b', place.bundle(['true']), newId()], {
        env: { [name]: value },
      });
      expect(ended.code).toBe(1);
      expect(ended.stderr).toContain(`${name}=${value}`);
    }
  });

  test('a run folder too deep for sockets', async () => {
    const deep = join(place.folder, 'x'.repeat(100));
    const ended = await place.coracle(['run', '-b', place.bundle(['true']), newId()], {
      env: { CORACLE_RUN: deep },
    });
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/107/);
    rmSync(deep, { recursive: true, force: true });
  });
});

describe('the log file', () => {
  test.each(['json', 'text'] as const)('has the error as runc writes it: %s', async (format) => {
    const log = join(place.folder, `log.${format}`);
    await place.coracle(['--log', log, '--log-format', format, 'state', 'nope']);
    const line = readFileSync(log, 'utf8');
    if (format === 'json') {
      expect(JSON.parse(line)).toEqual({
        level: 'error',
        msg: expect.stringContaining('does not exist'),
        time: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/),
      });
    } else expect(line).toMatch(/^time="[^"]*Z" level=error msg=".*does not exist.*"\n$/);
  });
});

describe('an engine', () => {
  test('creates, starts, signals and deletes', async () => {
    const id = newId();
    const pidFile = join(place.folder, 'pid');
    const script = 'trap "exit 5" TERM; touch /tmp/started; while :; do sleep 0.05; done';
    const bundle = place.bundle(['sh', '-c', script], (config: Config) => {
      config.annotations = { 'org.example.key': 'value' };
    });
    const marker = join(place.rootfs, 'tmp/started');
    const state = async () => JSON.parse((await place.coracle(['state', id])).stdout);

    expect(await place.coracle(['create', '-b', bundle, '--pid-file', pidFile, id])).toMatchObject({
      code: 0,
    });
    const pid = Number(readFileSync(pidFile, 'utf8'));
    expect(await state()).toMatchObject({
      ociVersion: '1.0.2',
      id,
      pid,
      status: 'created',
      bundle,
      annotations: { 'org.example.key': 'value' },
    });
    expect(existsSync(marker)).toBe(false);
    expect(readFileSync(`/proc/${pid}/comm`, 'utf8')).toBe('coracle-shim\n');

    expect((await place.coracle(['start', id])).code).toBe(0);
    await until(() => existsSync(marker), 'the process has started');
    expect((await place.coracle(['start', id])).stderr).toContain('running state');
    expect((await state()).status).toBe('running');
    expect(JSON.parse((await place.coracle(['list', '-f', 'json'])).stdout)).toMatchObject([
      { id, status: 'running' },
    ]);
    expect((await place.coracle(['list', '-q'])).stdout).toBe(`${id}\n`);
    expect((await place.coracle(['ps', '-f', 'json', id])).stdout).toMatch(/^\[\d+/);

    const refused = await place.coracle(['delete', id]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('not stopped: running');
    expect((await place.coracle(['kill', id, 'BOGUS'])).stderr).toContain('unknown signal');
    expect((await place.coracle(['kill', id])).code).toBe(0);
    await until(async () => (await state()).status === 'stopped', 'the container has stopped');
    expect(await state()).toMatchObject({ pid: 0 });
    expect(JSON.parse(readFileSync(join(place.root, id, 'exit.json'), 'utf8'))).toMatchObject({
      exitCode: 5,
    });
    expect((await place.coracle(['kill', id])).stderr).toContain('container not running');
    expect((await place.coracle(['kill', '--all', id])).code).toBe(0);
    expect((await place.coracle(['exec', id, 'true'])).code).toBe(255);
    expect((await place.coracle(['delete', id])).code).toBe(0);
    unlinkSync(marker);
  });

  test('deletes what was only created, and by force what runs', async () => {
    const [created, running] = [newId(), newId()];
    await place.coracle(['create', '-b', place.bundle(['true']), created]);
    await place.coracle(['run', '-d', '-b', place.bundle(['sleep', '1000']), running]);
    expect((await place.coracle(['delete', created])).code).toBe(0);
    expect((await place.coracle(['delete', '-f', running])).code).toBe(0);
  });

  test('gets the terminal over the console socket', async () => {
    const id = newId();
    const socket = join(place.folder, 'console.sock');
    const received = acceptDescriptor(socket);
    const bundle = place.bundle(
      ['sh', '-c', 'stty size; read line; echo "<$line>"; exit 6'],
      (config: Config) => {
        config.process.terminal = true;
        config.process.consoleSize = { width: 71, height: 19 };
      },
    );
    expect(await place.coracle(['create', '-b', bundle, '--console-socket', socket, id])).toMatchObject({
      code: 0,
    });
    const { descriptor, data } = await received;
    expect(data.toString()).toMatch(/^\/dev\/pts\//);
    const terminal = new PtyStream(descriptor);
    let shown = '';
    terminal.on('data', (bytes: Buffer) => {
      shown += bytes;
    });
    await place.coracle(['start', id]);
    await until(() => shown.includes('19 71'), 'the size is right');
    terminal.write('word\r');
    await until(() => shown.includes('<word>'), 'what was typed comes back');
    // The master hangs up when the shim has ended.
    await until(() => terminal.destroyed, 'the terminal ends');
    expect(shown).toBe('19 71\r\nword\r\n<word>\r\n');
    expect((await place.coracle(['delete', id])).code).toBe(0);
  });

  test('may not use a console socket without a terminal', async () => {
    const ended = await place.coracle([
      'create',
      '-b',
      place.bundle(['true']),
      '--console-socket',
      '/x',
      newId(),
    ]);
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain('cannot use console socket');
  });
});

describe('exec', () => {
  let id: string;
  const setUp = async () => {
    id = newId();
    const bundle = place.bundle(['sleep', '1000']);
    expect((await place.coracle(['run', '-d', '-b', bundle, id])).code).toBe(0);
    expect((await runc(['run', '-d', '-b', bundle, id])).code).toBe(0);
  };
  const tearDown = async () => {
    await runc(['delete', '--force', id]);
    await place.coracle(['delete', '--force', id]);
  };

  test('gives what runc exec gives', { timeout: 120_000 }, async () => {
    await setUp();
    try {
      const cases: [string[], RunOptions?][] = [
        [['ID', 'sh', '-c', 'echo out; echo err >&2; exit 9']],
        [['-e', 'A=1', '-e', 'B=2', 'ID', 'sh', '-c', 'echo $A $B $PATH']],
        [['--cwd', '/tmp', 'ID', 'sh', '-c', 'pwd']],
        [['--user', '12:34', '-g', '56', 'ID', 'id']],
        [['ID', 'cat'], { stdin: 'some\nbytes' }],
        [['ID', 'cat'], { stdin: 'closed' }],
        [['ID', 'ls', '--help', '-z'], {}],
        [['ID', 'sh', '-c', 'kill -TERM $$']],
        [['ID', 'sh', '-c', 'kill -KILL $$']],
        [['ID', 'sh', '-c', 'kill -HUP $$']],
        [['ID', 'sh', '-c', 'kill -USR2 $$']],
        [['ID', 'sh', '-c', 'exit 255']],
      ];
      for (const [args, options] of cases) {
        const words = args.map((word) => (word === 'ID' ? id : word));
        const ours = await place.coracle(['exec', ...words], options);
        expect({ args, ...ours }).toEqual({ args, ...(await runc(['exec', ...words], options)) });
      }
      expect((await place.coracle(['exec', id, 'nope'])).code).toBe(127);
      expect((await place.coracle(['exec', id, '/bin/plain-file'])).code).toBe(126);
      expect((await place.coracle(['exec', '--user', 'root', id, 'true'])).stderr).toContain(
        'names are unknown',
      );
    } finally {
      await tearDown();
    }
  });

  test('takes a process file, and detaches with a pid file', async () => {
    await setUp();
    try {
      const file = join(place.folder, 'process.json');
      const pidFile = join(place.folder, 'exec.pid');
      writeFileSync(
        file,
        JSON.stringify({
          args: ['sh', '-c', 'echo from file; exit 8'],
          env: ['PATH=/bin'],
          cwd: '/',
          user: { uid: 0, gid: 0 },
        }),
      );
      expect(await place.coracle(['exec', '--process', file, id])).toEqual({
        code: 8,
        stdout: 'from file\n',
        stderr: '',
      });
      writeFileSync(file, '{"args":["true"]');
      expect((await place.coracle(['exec', '--process', file, id])).stderr).toMatch(
        /process\.json is not JSON: line 1, column 17/,
      );
      expect((await place.coracle(['exec', '-d', '--pid-file', pidFile, id, 'sleep', '1000'])).code).toBe(0);
      expect(readFileSync(`/proc/${readFileSync(pidFile, 'utf8')}/comm`, 'utf8')).toBe('coracle-shim\n');
    } finally {
      await tearDown();
    }
  });
});

describe('at a terminal', () => {
  const terminalBundle = (script: string) =>
    place.bundle(['sh', '-c', script], (config: Config) => {
      config.process.terminal = true;
    });

  test('the program has size, resizes and keys; the terminal is as before afterwards', async () => {
    const id = newId();
    const script =
      'trap "stty size" WINCH; trap "echo int" INT; stty size; while :; do if read line; then [ "$line" = end ] && exit 7; echo "<$line>"; fi; done';
    const terminal = place.atTerminal(['run', '-b', terminalBundle(script), id]);
    try {
      const before = await terminal.modes();
      await terminal.shows('31 97');
      expect(await terminal.modes()).toContain('-icanon');
      terminal.type('hello\r');
      await terminal.shows('<hello>');
      setWindowSize(terminal.master, { columns: 120, rows: 40 });
      await terminal.shows('40 120');
      terminal.type('\x03');
      await terminal.shows(/\^C.*int/s);
      // A byte like any other: the guest's terminal makes SIGTSTP of it, and nothing here stops.
      terminal.type('\x1a');
      await terminal.shows('^Z');
      terminal.type('end\r');
      expect(await terminal.ended()).toBe(7);
      expect(await terminal.modes()).toBe(before.replace('rows 31; columns 97', 'rows 40; columns 120'));
    } finally {
      terminal.close();
    }
  });

  test('a killed shim leaves a usable terminal and no container', async () => {
    const id = newId();
    const terminal = place.atTerminal(['run', '-b', terminalBundle('echo ready; sleep 1000'), id]);
    try {
      const before = await terminal.modes();
      await terminal.shows('ready');
      const { shim } = JSON.parse(readFileSync(join(place.root, id, 'state.json'), 'utf8'));
      process.kill(shim.pid, 'SIGKILL');
      expect(await terminal.ended()).toBe(137);
      expect(await terminal.modes()).toBe(before);
    } finally {
      terminal.close();
    }
  });

  test('a killed coracle run takes the shim along, which would read what is typed at the shell; gc removes the rest', async () => {
    const id = newId();
    const terminal = place.atTerminal([
      'run',
      '-b',
      terminalBundle('echo ready; while read line; do :; done'),
      id,
    ]);
    try {
      await terminal.shows('ready');
      process.kill(terminal.pid, 'SIGKILL');
      expect(await terminal.ended()).toBe(137);
      await until(
        async () => JSON.parse((await place.coracle(['state', id])).stdout).status === 'stopped',
        'the container stops',
      );
      expect((await place.coracle(['gc'])).stdout).toContain(`removed container ${id}`);
    } finally {
      terminal.close();
    }
  });

  test('without one of its own the output is copied', async () => {
    const ended = await place.coracle(['run', '-b', terminalBundle('tty; echo done'), newId()]);
    expect(ended).toEqual({ code: 0, stdout: '/dev/pts/0\r\ndone\r\n', stderr: '' });
  });

  test('a process without a terminal gets one Ctrl-C', async () => {
    const script =
      'trap "echo int" INT; echo ready; n=0; while [ $n -lt 40 ]; do sleep 0.05; n=$((n+1)); done; exit 3';
    const terminal = place.atTerminal(['run', '-b', place.bundle(['sh', '-c', script]), newId()]);
    try {
      await terminal.shows('ready');
      terminal.type('\x03');
      await terminal.shows('int');
      terminal.type('\x1a');
      expect(await terminal.ended()).toBe(3);
      expect(terminal.shown.match(/int/g)).toHaveLength(1);
    } finally {
      terminal.close();
    }
  });

  test('exec -t has one, too', async () => {
    const id = newId();
    await place.coracle(['run', '-d', '-b', place.bundle(['sleep', '1000']), id]);
    const terminal = place.atTerminal(['exec', '-t', id, 'sh', '-c', 'stty size; exit 11']);
    try {
      expect(await terminal.ended()).toBe(11);
      await terminal.shows('31 97');
    } finally {
      terminal.close();
      await place.coracle(['delete', '--force', id]);
    }
  });
});

describe('whatever happens', () => {
  test('an interrupted run leaves nothing, whenever it comes', { timeout: 120_000 }, async () => {
    const bundle = place.bundle(['sleep', '1000']);
    for (let waitMs = 30; waitMs <= 480; waitMs += 50) {
      const signal = waitMs % 100 === 30 ? 'SIGINT' : 'SIGTERM';
      const id = newId();
      const { code } = await place.coracle(['run', '-b', bundle, id], {
        onStart: async (child) => {
          await delay(waitMs);
          child.kill(signal);
          // Too late to interrupt: pid 1 of a container ignores what it does not handle.
          await delay(1500);
          child.kill('SIGTERM');
          if (child.exitCode === null) await place.coracle(['delete', '--force', id]);
        },
      });
      expect(code).not.toBe(0);
      await until(() => place.leftovers().length === 0, `nothing is left after ${signal} at ${waitMs} ms`);
    }
  });

  test('a create that is killed is removed by delete --force or gc', { timeout: 120_000 }, async () => {
    const bundle = place.bundle(['sleep', '1000']);
    for (let waitMs = 40; waitMs <= 440; waitMs += 50) {
      const id = newId();
      await place.coracle(['create', '-b', bundle, id], {
        onStart: async (child) => {
          await delay(waitMs);
          child.kill('SIGKILL');
        },
      });
      const removed = await place.coracle(waitMs % 100 === 40 ? ['delete', '--force', id] : ['gc']);
      expect(removed.code).toBe(0);
      // One that was complete is no garbage.
      await place.coracle(['delete', '--force', id]);
      await until(() => place.leftovers().length === 0, `nothing is left after SIGKILL at ${waitMs} ms`);
    }
  });

  // It outlives the container, and kept its network and its root with it.
  test("a proxy that a container's shim has started is where its first one was", async () => {
    await using place = new RuntimePlace();
    const bundle = place.bundle(['sleep', '1000']);
    expect(await place.coracle(['run', '-d', '--bundle', bundle, 'p'])).toMatchObject({ code: 0 });
    const { pid } = JSON.parse((await place.coracle(['state', 'p'])).stdout);
    const proxies = () =>
      place
        .processes({ proxy: true })
        .filter((line) => line.includes('/coracle-proxy.js '))
        .map((line) => Number(line.split(' ')[0]));
    const [first] = proxies();
    killPid(first!, 'SIGKILL');
    await until(() => proxies().some((one) => one !== first), 'the shim has started another one');
    const [second] = proxies();
    for (const kind of ['net', 'mnt']) {
      const own = readlinkSync(`/proc/self/ns/${kind}`);
      expect(readlinkSync(`/proc/${second}/ns/${kind}`)).toBe(own);
      expect(readlinkSync(`/proc/${pid}/ns/${kind}`)).not.toBe(own);
    }
    expect(await place.coracle(['delete', '--force', 'p'])).toMatchObject({ code: 0 });
  });

  test('a proxy of its own ends with its container', async () => {
    const id = newId();
    const env = { CORACLE_PROXY: 'sandbox' };
    await place.coracle(['run', '-d', '-b', place.bundle(['sleep', '1000']), id], { env });
    const proxies = () => place.processes({ proxy: true }).filter((line) => line.includes('--sandbox '));
    expect(proxies().filter((line) => line.includes('coracle-proxy'))).not.toEqual([]);
    expect((await place.coracle(['exec', id, 'echo', 'hi'])).stdout).toBe('hi\n');
    expect((await place.coracle(['delete', '--force', id])).code).toBe(0);
    expect(proxies()).toEqual([]);
  });
});

describe('called as engines do', () => {
  test('with an empty environment, through a link, from any folder', async () => {
    const link = join(place.folder, 'linked');
    symlinkSync(coracle, link);
    const ended = await run(link, ['--root', place.root, 'state', 'x'], { env: {}, cwd: '/' });
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain('does not exist');
    unlinkSync(link);
  });
});
