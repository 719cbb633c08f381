/**
 * The client library against the real agent (as a process of this host) and the real proxy: every promise of
 * the stream contract that can be kept without a VM, also while the proxy is killed in mid-stream.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { finished, pipeline } from 'node:stream/promises';
import { type Container, Coracle, type ProcessResult, type Sandbox } from '@coracle/client';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { containerConfig, type LocalPlace, makeLocalPlace, until } from './local-sandbox.ts';

const MiB = 1024 * 1024;
const exited = (exitCode: number): ProcessResult => ({
  cause: 'exited',
  exitCode,
  signal: null,
  code: exitCode,
  message: '',
});

let place: LocalPlace;
let sandbox: Sandbox;
let container: Container;

beforeAll(async () => {
  place = await makeLocalPlace();
  sandbox = await place.startSandbox();
  container = await newContainer('main', ['sleep', '100000']);
  await container.start();
});

afterAll(async () => {
  const directory = join(place.directory, 'sandboxes', sandbox.id);
  await sandbox.destroy();
  expect(existsSync(directory)).toBe(false);
  await sandbox.destroy();
  await place[Symbol.asyncDispose]();
});

function newContainer(id: string, args: string[], options: { stdin?: boolean } = {}): Promise<Container> {
  const rootfs = { share: 'host', path: 'rootfs' };
  return sandbox.createContainer({ id, config: containerConfig(args), rootfs, ...options });
}

const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

async function run(...args: string[]) {
  const process = await container.exec({ args });
  const { stdout, stderr, result } = await process.output({ maxBytes: 128 * MiB });
  return { stdout: stdout.toString(), stderr: stderr.toString(), result };
}

describe('a process', () => {
  test('gives output, error output and its exit code', async () => {
    expect(await run('sh', '-c', 'echo out; echo err >&2; exit 7')).toEqual({
      stdout: 'out\n',
      stderr: 'err\n',
      result: exited(7),
    });
  });

  test('takes environment, folder and user', async () => {
    const process = await container.exec({
      args: ['sh', '-c', 'echo "$A $PATH"; pwd; id -u'],
      env: { A: 'b c' },
      cwd: '/tmp',
      user: { uid: 12, gid: 34 },
    });
    expect((await process.output()).stdout.toString()).toBe('b c /bin\n/tmp\n12\n');
  });

  test.each(['SIGTERM', 'SIGHUP', 'SIGKILL', 'SIGUSR1', 34] as const)('dies of %s', async (signal) => {
    const process = await container.exec({ args: ['sleep', '1000'] });
    expect(process.signal(signal)).toBe(true);
    const result = await process.wait();
    expect(result).toMatchObject({ cause: 'signalled', exitCode: null });
    expect(result.signal).toBe(signal === 34 ? 'SIGRTMIN+0' : signal);
    expect(process.signal(signal)).toBe(false);
  });

  test('can be waited for before, after and any number of times', async () => {
    const process = await container.exec({ args: ['sh', '-c', 'read line; exit 3'], stdin: true });
    const before = [process.wait(), process.wait()];
    process.stdin.end('go\n');
    expect(await Promise.all([...before, process.wait()])).toEqual([exited(3), exited(3), exited(3)]);
    expect(await process.wait()).toEqual(exited(3));
  });

  test('that is missing or may not run is an error of exec', async () => {
    await expect(container.exec({ args: ['/bin/none'] })).rejects.toMatchObject({ code: 'not_found' });
    await expect(container.exec({ args: ['/tmp'] })).rejects.toMatchObject({ code: 'permission_denied' });
    await expect(container.exec({ args: [] })).rejects.toMatchObject({ code: 'invalid_argument' });
  });

  test('without stdin reads an end of file, and writing to it fails with EPIPE', async () => {
    const process = await container.exec({ args: ['cat'] });
    const { promise, resolve } = Promise.withResolvers<unknown>();
    process.stdin.write('x', resolve);
    expect(await promise).toMatchObject({ code: 'EPIPE' });
    expect(await process.wait()).toEqual(exited(0));
  });

  test('that closes its stdin makes writing fail with EPIPE', async () => {
    const process = await container.exec({ args: ['sh', '-c', 'exec <&-; sleep 1000'], stdin: true });
    const source = Readable.from(Array.from({ length: 256 }, () => Buffer.alloc(MiB / 16)));
    await expect(pipeline(source, process.stdin)).rejects.toMatchObject({ code: 'EPIPE' });
    process.signal('SIGKILL');
    expect(await process.wait()).toMatchObject({ signal: 'SIGKILL' });
  });

  test('that ends while it is written to makes writing fail with EPIPE', async () => {
    const process = await container.exec({ args: ['true'], stdin: true });
    const source = Readable.from(Array.from({ length: 256 }, () => Buffer.alloc(MiB / 16)));
    await expect(pipeline(source, process.stdin)).rejects.toMatchObject({ code: 'EPIPE' });
    expect(await process.wait()).toEqual(exited(0));
  });

  test('on a terminal has its size, is told of a new one, and Ctrl-C', async () => {
    const process = await container.exec({
      args: ['sh', '-c', 'stty size; trap "stty size; exit 5" WINCH; while :; do sleep 0.05; done'],
      terminal: { columns: 91, rows: 33 },
    });
    let seen = '';
    process.stdout.setEncoding('utf8').on('data', (text: string) => {
      seen += text;
    });
    await until(() => seen.includes('33 91'), 'the first size is shown');
    process.resize({ columns: 40, rows: 12 });
    expect(await process.wait()).toEqual(exited(5));
    await until(() => seen.includes('12 40'), 'the second size is shown');

    const sleeper = await container.exec({ args: ['sh', '-c', 'echo up; exec sleep 1000'], terminal: true });
    for await (const chunk of sleeper.stdout) {
      if (String(chunk).includes('up')) break;
    }
    // The loop's end has destroyed stdout: a terminal without a reader still takes keys.
    sleeper.stdin.write('\x03');
    expect(await sleeper.wait()).toMatchObject({ cause: 'signalled', signal: 'SIGINT', code: 130 });
  });
});

describe('bytes', () => {
  test.each([0, 1, 64 * 1024, 64 * 1024 + 1, 16 * MiB])(
    '%d of them through stdin and back',
    async (length) => {
      const bytes = randomBytes(length);
      const process = await container.exec({ args: ['cat'], stdin: true });
      process.stdin.end(bytes);
      const { stdout, result } = await process.output({ maxBytes: length });
      expect(result).toEqual(exited(0));
      expect(sha256(stdout)).toBe(sha256(bytes));
    },
  );

  test('64 MiB in, and 64 MiB out to a reader that pauses', async () => {
    const bytes = randomBytes(64 * MiB);
    const sum = await container.exec({ args: ['sha256sum'], stdin: true });
    sum.stdin.end(bytes);
    expect((await sum.output()).stdout.toString()).toBe(`${sha256(bytes)}  -\n`);

    const process = await container.exec({ args: ['sh', '-c', 'yes 0123456789abcde | head -c 67108864'] });
    const hash = createHash('sha256');
    let total = 0;
    let pauses = 0;
    for await (const chunk of process.stdout as AsyncIterable<Buffer>) {
      hash.update(chunk);
      total += chunk.length;
      if (total > (pauses + 1) * 4 * MiB) {
        pauses++;
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
    }
    expect(pauses).toBeGreaterThan(10);
    const expected = createHash('sha256')
      .update('0123456789abcde\n'.repeat(4 * MiB))
      .digest('hex');
    expect(hash.digest('hex')).toBe(expected);
    expect(await process.wait()).toEqual(exited(0));
  });

  test('in ten thousand small writes', async () => {
    const process = await container.exec({ args: ['sha256sum'], stdin: true });
    const hash = createHash('sha256');
    for (let i = 0; i < 10_000; i++) {
      hash.update(`${i}\n`);
      process.stdin.write(`${i}\n`);
    }
    process.stdin.end();
    expect((await process.output()).stdout.toString()).toBe(`${hash.digest('hex')}  -\n`);
  });

  test('of a process that exits at once are all there, unread until after the exit', async () => {
    const expected = Array.from({ length: 100_000 }, (_, i) => `${i + 1}\n`).join('');
    for (let round = 0; round < 10; round++) {
      const process = await container.exec({ args: ['seq', '1', '100000'] });
      expect(await process.wait()).toEqual(exited(0));
      expect((await process.output()).stdout.toString() === expected).toBe(true);
    }
  });
});

describe('a reader', () => {
  test('that is stuck stops only its own process', async () => {
    const stuck = await container.exec({ args: ['yes'] });
    const script = 'yes | head -c 8388608; echo done >&2';
    const held = await container.exec({ args: ['sh', '-c', script], stdin: false });
    expect((await run('echo', 'on it goes')).stdout).toBe('on it goes\n');
    // The other output of a held process goes on, too, and so do signals.
    stuck.signal('SIGTERM');
    const bytes = await held.output({ maxBytes: 8 * MiB });
    expect(bytes.stdout.length).toBe(8 * MiB);
    expect(bytes.stderr.toString()).toBe('done\n');
    stuck.stdout.destroy();
    expect(await stuck.wait()).toMatchObject({ signal: 'SIGTERM' });
  });

  test('that goes away is a closed pipe for the process', async () => {
    const process = await container.exec({ args: ['yes'] });
    for await (const _ of process.stdout) break;
    const result = await process.wait();
    expect(result.signal === 'SIGPIPE' || result.exitCode === 1).toBe(true);
  });

  test('that is not wanted holds nothing up', async () => {
    const process = await container.exec({
      args: ['sh', '-c', 'head -c 20000000 /dev/zero; head -c 20000000 /dev/zero >&2; exit 4'],
      stdout: 'ignore',
      stderr: 'ignore',
    });
    // Its output is closed, so head sees SIGPIPE; the shell goes on.
    expect(await process.wait()).toEqual(exited(4));
    expect((await process.output()).stdout.length).toBe(0);
  });

  test('of limited output gets an error, and the process is killed', async () => {
    const process = await container.exec({ args: ['yes'] });
    await expect(process.output({ maxBytes: 100_000 })).rejects.toMatchObject({ code: 'resource_exhausted' });
    expect((await process.wait()).cause).not.toBe('vm_lost');
  });
});

describe('a killed proxy', () => {
  test('in the middle of streams both ways loses and doubles nothing, and the agent counts it', async () => {
    const before = (await sandbox.details()).link;
    const bytes = randomBytes(24 * MiB);
    const process = await container.exec({ args: ['cat'], stdin: true });
    const fed = pipeline(Readable.from(slices(bytes, 50_000)), process.stdin);
    const hash = createHash('sha256');
    let total = 0;
    let kills = 0;
    for await (const chunk of process.stdout as AsyncIterable<Buffer>) {
      hash.update(chunk);
      total += chunk.length;
      if (total > (kills + 1) * 5 * MiB) {
        kills++;
        await place.killProxy();
      }
    }
    await fed;
    expect(kills).toBe(4);
    expect(total).toBe(bytes.length);
    expect(hash.digest('hex')).toBe(sha256(bytes));
    expect(await process.wait()).toEqual(exited(0));
    const after = (await sandbox.details()).link;
    const counted = (name: keyof NonNullable<typeof after>): number => after![name] - before![name];
    expect(counted('links')).toBe(4);
    expect(counted('attaches')).toBeGreaterThanOrEqual(5);
    expect(counted('bytesSent')).toBeGreaterThan(bytes.length + counted('retransmittedBytes'));
    expect(counted('bytesReceived')).toBeGreaterThan(bytes.length);
    expect(counted('framesSent')).toBeGreaterThan(bytes.length / 32_768);
  });

  test('a reader that does not read is a stall that the agent counts', async () => {
    const before = (await sandbox.details()).link?.stalls ?? 0;
    const process = await container.exec({ args: ['cat', '/dev/zero'] });
    await until(async () => ((await sandbox.details()).link?.stalls ?? 0) > before, 'it has no credit');
    process.signal('SIGKILL');
    process.stdout.destroy();
    await process.wait();
  });

  test('does not disturb who waits, who calls and who signals', async () => {
    const process = await container.exec({
      args: ['sh', '-c', 'trap "echo one" USR1; while :; do sleep 0.05; done'],
    });
    const waiting = process.wait();
    await place.killProxy();
    expect((await run('echo', 'again')).stdout).toBe('again\n');
    let seen = '';
    process.stdout.on('data', (chunk) => {
      seen += chunk;
    });
    process.signal('SIGUSR1');
    await place.killProxy();
    await until(() => seen !== '', 'the signal has arrived');
    process.signal('SIGKILL');
    expect(await waiting).toMatchObject({ signal: 'SIGKILL' });
    expect(seen).toBe('one\n');
  });
});

test('a proxy is started once, however many want it', async () => {
  await place.killProxy();
  await Promise.all(Array.from({ length: 5 }, () => place.ensureProxy()));
  // Those that came too late may still be leaving.
  await until(() => place.proxyPids().length === 1, 'one proxy is left');
  expect((await run('echo', 'again')).stdout).toBe('again\n');
});

describe('giving up', () => {
  test('waiting ends the wait and not the process', async () => {
    const process = await container.exec({ args: ['sleep', '1000'] });
    const aborting = new AbortController();
    const waiting = process.wait({ signal: aborting.signal });
    aborting.abort();
    await expect(waiting).rejects.toMatchObject({ code: 'cancelled' });
    process.signal('SIGKILL');
    expect(await process.wait()).toMatchObject({ signal: 'SIGKILL' });
  });

  test('exec leaves no process behind', async () => {
    const before = await container.processes();
    const aborting = new AbortController();
    const starting = container.exec({ args: ['sleep', '1000'], signal: aborting.signal });
    aborting.abort();
    await expect(starting).rejects.toMatchObject({ code: 'cancelled' });
    await until(async () => (await container.processes()).length === before.length, 'the process is gone');
  });

  test('createContainer leaves no container behind', async () => {
    const aborting = new AbortController();
    const config = containerConfig(['true']);
    const rootfs = { share: 'host', path: 'rootfs' };
    const creating = sandbox.createContainer({ id: 'aborted', config, rootfs, signal: aborting.signal });
    aborting.abort();
    await expect(creating).rejects.toMatchObject({ code: 'cancelled' });
    const notFound = () =>
      sandbox
        .container('aborted')
        .processes()
        .then(
          () => false,
          (error) => error.code === 'not_found',
        );
    await until(notFound, 'the container is gone');
  });

  test('connecting to a proxy that never comes', async () => {
    const options = { proxy: join(place.directory, 'none.sock'), startProxy: async () => undefined };
    const connecting = new Coracle(options).connect('x', { signal: AbortSignal.timeout(50) });
    await expect(connecting).rejects.toMatchObject({ code: 'cancelled' });
  });
});

describe('a container', () => {
  test('runs, pauses, resumes, is signalled and removed', async () => {
    const other = await newContainer('other', ['sh', '-c', 'echo up; read line; echo "$line"; exit 9'], {
      stdin: true,
    });
    await expect(newContainer('other', ['true'])).rejects.toMatchObject({ code: 'already_exists' });
    await other.start();
    expect(await other.processes()).toHaveLength(1);
    await expect(other.remove()).rejects.toMatchObject({ code: 'failed_precondition' });
    other.process.stdin.end('last words\n');
    const { stdout, result } = await other.process.output();
    expect(stdout.toString()).toBe('up\nlast words\n');
    expect(result).toEqual(exited(9));
    await expect(other.signal('SIGTERM')).rejects.toMatchObject({ code: 'failed_precondition' });
    await other.remove();
    await expect(other.start()).rejects.toMatchObject({ code: 'not_found' });
  });

  test('is killed with all its processes', async () => {
    const other = await newContainer('killed', ['sleep', '1000']);
    await other.start();
    const process = await other.exec({ args: ['sleep', '1000'] });
    await other.kill();
    expect((await other.process.wait()).signal).toBe('SIGKILL');
    expect((await process.wait()).signal).toBe('SIGKILL');
    await other.remove();
  });

  test('with a wrong configuration names the field', async () => {
    const rootfs = { share: 'host', path: 'rootfs' };
    const config = { ...containerConfig(['true']), mounts: 'none' };
    await expect(sandbox.createContainer({ id: 'wrong', config, rootfs })).rejects.toThrow(/mounts/);
  });
});

describe('another program', () => {
  test('connects, waits, and takes a process over', async () => {
    const other = await place.coracle.connect(sandbox.id);
    const made = await sandbox.createContainer({
      id: 'handed-over',
      config: containerConfig(['sh', '-c', 'echo hello; read line; echo "$line"']),
      rootfs: { share: 'host', path: 'rootfs' },
      stdin: true,
      attach: false,
    });
    expect(() => made.process.stdout).toThrow(/attach/);
    const waits = [made.process.wait(), other.container('handed-over').process.wait()];
    const first = await other.attach(made.process.handle);
    await made.start();
    for await (const chunk of first.stdout.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      expect(String(chunk)).toBe('hello\n');
      break;
    }
    const second = await sandbox.attach(made.process.handle);
    await expect(first.wait()).rejects.toMatchObject({ code: 'aborted' });
    second.stdin.end('bye\n');
    const { stdout, result } = await second.output();
    expect(stdout.toString()).toMatch(/^(hello\n)?bye\n$/);
    expect(result).toEqual(exited(0));
    expect(await Promise.all(waits)).toEqual([exited(0), exited(0)]);
    const wrongToken = { ...made.process.handle, token: randomBytes(16) };
    await expect(sandbox.attach(wrongToken)).rejects.toMatchObject({ code: 'permission_denied' });
    await made.remove();
    await expect(sandbox.attach(made.process.handle)).rejects.toMatchObject({ code: 'not_found' });
    other.close();
    await expect(other.details()).rejects.toMatchObject({ code: 'cancelled' });
  });

  test('finds no sandbox where there is none', async () => {
    await expect(place.coracle.connect('nowhere')).rejects.toMatchObject({ code: 'not_found' });
    await expect(place.coracle.connect('../x')).rejects.toMatchObject({ code: 'invalid_argument' });
    const noProxy = new Coracle({ proxy: join(place.directory, 'none.sock') });
    await expect(noProxy.connect(sandbox.id)).rejects.toMatchObject({ code: 'unavailable' });
  });
});

describe('a lost VM', () => {
  test('ends everything at once and says so', async () => {
    const doomed = await place.startSandbox();
    const directory = join(place.directory, 'sandboxes', doomed.id);
    const rootfs = { share: 'host', path: 'rootfs' };
    const config = containerConfig(['sh', '-c', 'echo last words; sleep 1000']);
    const victim = await doomed.createContainer({ id: 'victim', config, rootfs });
    await victim.start();
    const reading = finished(victim.process.stdout);
    let seen = '';
    victim.process.stdout.on('data', (chunk) => {
      seen += chunk;
    });
    await until(() => seen === 'last words\n', 'the process runs');
    const pending = doomed.container('victim').process.wait();
    const { main } = JSON.parse(readFileSync(join(directory, 'vm.json'), 'utf8'));
    process.kill(main.pid, 'SIGKILL');
    const lost = { cause: 'vm_lost', exitCode: null, signal: null, code: 255 };
    expect(await victim.process.wait()).toMatchObject(lost);
    expect(await pending).toMatchObject(lost);
    await expect(reading).rejects.toMatchObject({ code: 'unavailable' });
    await expect(doomed.details()).rejects.toMatchObject({ code: 'unavailable' });
    await doomed.destroy();
    expect(existsSync(directory)).toBe(false);
  });
});

function* slices(bytes: Buffer, length: number): Generator<Buffer> {
  for (let at = 0; at < bytes.length; at += length) yield bytes.subarray(at, at + length);
}
