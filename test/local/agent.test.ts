/**
 * The agent as a process of this host (no VM), with crun and a busybox root, driven over its unix socket:
 * create, start, exec, streams, terminals, signals, exits, and what must go on while something is stuck.
 */
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { decodeWaitStatus } from '@coracle/sys';
import { Code, type ExitRecord, FrameType } from '@coracle/wire';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  type AgentClient,
  type ClientProcess,
  type ConfigOptions,
  LocalAgent,
  MiB,
  ociConfig,
  until,
} from './agent-harness.ts';

let agent: LocalAgent;
let client: AgentClient;
let containers = 0;
const alive = new Set<string>();

beforeAll(async () => {
  agent = await LocalAgent.start();
  client = await agent.connect();
  await client.createSandbox(agent.folder);
});
afterEach(async () => {
  if (client.closedBy) await client.connect();
  for (const id of alive) await client.remove(id);
  alive.clear();
});
afterAll(async () => {
  expect(await agent.stop()).toBe(0);
  expect(agent.errors).toBe('');
});

interface RunOptions extends Partial<ConfigOptions> {
  readonly stdin?: boolean;
  readonly columns?: number;
  readonly rows?: number;
}

/** A container that runs `args`, attached before it starts. */
async function run(
  args: string[],
  { paused = false, ...options }: RunOptions & { paused?: boolean } = {},
): Promise<ClientProcess & { containerId: string }> {
  const containerId = `c${++containers}`;
  const process = await client.create(containerId, { ...options, args });
  process.paused = paused;
  alive.add(containerId);
  await process.attach();
  await client.start(containerId);
  return Object.assign(process, { containerId });
}

const sh = (script: string, options: RunOptions = {}) => run(['sh', '-c', script], options);
/** A container to exec into. */
const idle = () => run(['sleep', '1000']);

function ending(exit: ExitRecord): string {
  const status = decodeWaitStatus(exit.waitStatus);
  return status.kind === 'exited' ? `${exit.cause} ${status.code}` : `${exit.cause} ${status.signal}`;
}
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
const numbers = Array.from({ length: 200_000 }, (_, i) => i + 1);
const seqOnPipe = `${numbers.join('\n')}\n`;
const seqOnTerminal = `${numbers.join('\r\n')}\r\n`;

describe('a container on pipes', () => {
  test('gives its outputs and its exit code', async () => {
    const process = await sh('echo out; echo err >&2; exit 7');
    expect(ending(await process.end())).toBe('exited 7');
    expect(process.stdout.text).toBe('out\n');
    expect(process.stderr.text).toBe('err\n');
  });

  test('has its own processes and the root it was given', async () => {
    const process = await sh('ls /; echo $$');
    await process.end();
    expect(process.stdout.text).toBe('bin\ndev\netc\nproc\nsys\ntmp\n1\n');
  });

  test('16 MiB through stdin arrive whole', async () => {
    const bytes = randomBytes(16 * MiB);
    const process = await run(['sha256sum'], { stdin: true });
    await process.write(bytes);
    process.endStdin();
    await process.end();
    expect(process.stdout.text).toBe(`${sha256(bytes)}  -\n`);
  });

  test('64 MiB go through it both ways at once', async () => {
    const bytes = randomBytes(64 * MiB);
    const process = await run(['cat'], { stdin: true });
    await process.write(bytes);
    process.endStdin();
    expect(ending(await process.end())).toBe('exited 0');
    expect(process.stdout.bytes).toBe(bytes.length);
    expect(process.stdout.sha256()).toBe(sha256(bytes));
  });

  test('stdin at end of file without a byte', async () => {
    const process = await run(['cat'], { stdin: true });
    process.endStdin();
    expect(ending(await process.end())).toBe('exited 0');
  });

  test('no stdin is /dev/null', async () => {
    const process = await sh('cat; wc -c < /dev/stdin');
    expect(ending(await process.end())).toBe('exited 0');
    expect(process.stdout.text).toBe('0\n');
  });

  test('a process that closes its stdin stops the sender', async () => {
    const process = await sh('exec <&-; sleep 1000', { stdin: true });
    await process.write(randomBytes(2 * MiB));
    expect(process.stdinStopped).toBe(true);
  });

  test('a client that stops reading gives SIGPIPE', async () => {
    // Not as a container's pid 1, which ignores the signals that the kernel sends.
    const { containerId } = await idle();
    const process = await client.exec(containerId, 'yes', { args: ['yes'] });
    await process.attach();
    await until('some output', () => process.received > 100_000);
    process.stopStdout();
    await until('the exit', () => process.exit !== undefined);
    expect(ending(process.exit as ExitRecord)).toBe('signalled SIGPIPE');
  });

  test('what a quick process wrote is whole', async () => {
    const { containerId } = await idle();
    for (let i = 0; i < 5; i++) {
      const process = await client.exec(containerId, `seq-${i}`, { args: ['seq', '1', '200000'] });
      await process.attach();
      expect(ending(await process.end())).toBe('exited 0');
      expect(process.stdout.text).toBe(seqOnPipe);
    }
  });

  test('a grandchild that keeps the pipe does not hold up the exit, and is neither killed nor blocked', async () => {
    const { containerId } = await idle();
    const script = 'echo before; (sleep 0.3; seq 1 200000; echo done > /tmp/done; sleep 1000) & exit 3';
    const process = await client.exec(containerId, 'parent', { args: ['sh', '-c', script] });
    await process.attach();
    expect(ending(await process.end())).toBe('exited 3');
    expect(process.stdout.text).toBe('before\n');
    await until('the grandchild to get past its output', () => existsSync(`${agent.folder}/rootfs/tmp/done`));
  });
});

describe('exits', () => {
  test('every exit code', async () => {
    const { containerId } = await idle();
    for (const code of [0, 1, 2, 126, 127, 128, 129, 255]) {
      const process = await client.exec(containerId, `code-${code}`, { args: ['sh', '-c', `exit ${code}`] });
      await process.attach();
      expect(ending(await process.end())).toBe(`exited ${code}`);
    }
  });

  test.each([
    ['signal record', 'SIGTERM', 15],
    ['signal record', 'SIGKILL', 9],
    ['signal record', 'SIGRTMIN+3', 37],
    ['request', 'SIGUSR1', 10],
  ])('death by a signal, sent by %s: %s', async (how, name, signal) => {
    const { containerId } = await idle();
    const process = await client.exec(containerId, 'victim', { args: ['sleep', '1000'] });
    await process.attach();
    if (how === 'request')
      await client.requests.call('signalProcess', { containerId, execId: 'victim', signal, all: false });
    else process.send({ kind: 'signal', signal });
    expect(ending(await process.end())).toBe(`signalled ${name}`);
  });

  test('a caught signal reaches the handler', async () => {
    const process = await sh('trap "echo caught; exit 5" USR2; echo ready; while :; do sleep 0.05; done');
    await until('readiness', () => process.stdout.text === 'ready\n');
    process.send({ kind: 'signal', signal: 12 });
    expect(ending(await process.end())).toBe('exited 5');
    expect(process.stdout.text).toBe('ready\ncaught\n');
  });

  test('waiting is idempotent, and a signal afterwards is refused', async () => {
    const process = await sh('exit 9');
    const wait = { containerId: process.containerId, execId: '' };
    for (let i = 0; i < 3; i++) {
      const { exit } = await client.requests.call('waitProcess', wait);
      expect(exit).toMatchObject({ cause: 1, waitStatus: 9 << 8 });
    }
    await expect(
      client.requests.call('signalProcess', { ...wait, signal: 15, all: false }),
    ).rejects.toMatchObject({
      code: 'failed_precondition',
    });
  });

  test('a signal for all', async () => {
    const { containerId } = await idle();
    const process = await client.exec(containerId, 'one', { args: ['sh', '-c', 'sleep 1000 & wait'] });
    await process.attach();
    const { pids } = await client.requests.call('listProcesses', { containerId });
    expect(pids.length).toBeGreaterThanOrEqual(2);
    await client.requests.call('signalProcess', { containerId, execId: '', signal: 9, all: true });
    expect(ending(await process.end())).toBe('signalled SIGKILL');
    await client.requests.call('waitProcess', { containerId, execId: '' });
  });
});

describe('a terminal', () => {
  test('has the size it was given before the program runs, and changes it', async () => {
    const script = 'stty size; trap "stty size; exit" WINCH; echo ready; while :; do sleep 0.05; done';
    const process = await sh(script, { terminal: true, stdin: true, columns: 91, rows: 33 });
    await until('readiness', () => process.stdout.text.includes('ready'));
    process.send({ kind: 'resize', columns: 120, rows: 40 });
    expect(ending(await process.end())).toBe('exited 0');
    expect(process.stdout.text).toBe('33 91\r\nready\r\n40 120\r\n');
  });

  test('an exec has its size too', async () => {
    const { containerId } = await idle();
    // crun sets it while the program starts already (docs/processes.md, "Terminals"): seldom it comes a moment later.
    const script = 'until stty size 2> /dev/null; do :; done';
    const options = { args: ['sh', '-c', script], terminal: true, columns: 77, rows: 22 };
    const process = await client.exec(containerId, 'tty', options);
    await process.attach();
    await process.end();
    expect(process.stdout.text).toBe('22 77\r\n');
  });

  test('echoes, does line editing and takes ^D', async () => {
    const process = await run(['cat'], { terminal: true, stdin: true });
    await process.write(Buffer.from('abX\x7fc\n\x04'));
    expect(ending(await process.end())).toBe('exited 0');
    expect(process.stdout.text).toContain('abc\r\n');
  });

  test('^C is SIGINT', async () => {
    const process = await sh('trap "echo int; exit 4" INT; echo ready; while :; do sleep 0.05; done', {
      terminal: true,
      stdin: true,
    });
    await until('readiness', () => process.stdout.text.includes('ready'));
    await process.write(Buffer.from('\x03'));
    expect(ending(await process.end())).toBe('exited 4');
  });

  test('what a quick process wrote is whole', async () => {
    const { containerId } = await idle();
    for (let i = 0; i < 5; i++) {
      const process = await client.exec(containerId, `tty-${i}`, {
        args: ['seq', '1', '200000'],
        terminal: true,
      });
      await process.attach();
      expect(ending(await process.end())).toBe('exited 0');
      expect(process.stdout.text).toBe(seqOnTerminal);
    }
  });

  test('a process that closes the terminal for a while loses nothing', async () => {
    const script = 'echo one; exec <&- >&- 2>&-; sleep 0.2; exec > /dev/tty; echo two';
    const process = await sh(script, { terminal: true });
    expect(ending(await process.end())).toBe('exited 0');
    expect(process.stdout.text).toBe('one\r\ntwo\r\n');
  });
});

describe('what does not start', () => {
  test('a command that does not exist', async () => {
    await expect(run(['nosuch'])).rejects.toMatchObject({
      code: 'not_found',
      cause: expect.stringContaining('nosuch'),
    });
    const { containerId } = await idle();
    const exec = client.exec(containerId, 'x', { args: ['/bin/nosuch'] });
    await expect(exec).rejects.toMatchObject({ code: 'not_found', cause: expect.stringContaining('nosuch') });
    await expect(client.exec(containerId, 'y', { args: ['nosuch'], terminal: true })).rejects.toMatchObject({
      code: 'not_found',
    });
  });

  test('a command that may not be executed', async () => {
    await expect(run(['/tmp'])).rejects.toMatchObject({ code: 'permission_denied' });
    const { containerId } = await idle();
    await expect(client.exec(containerId, 'x', { args: ['/etc'] })).rejects.toMatchObject({
      code: 'permission_denied',
      cause: expect.anything(),
    });
  });

  test('ids in use, unknown ids, ids that are paths', async () => {
    const { containerId } = await idle();
    await expect(client.create(containerId, { args: ['true'] })).rejects.toMatchObject({
      code: 'already_exists',
    });
    await expect(client.start('nosuch')).rejects.toMatchObject({ code: 'not_found' });
    await expect(client.start(containerId)).rejects.toMatchObject({ code: 'failed_precondition' });
    for (const id of ['', '..', 'a/b']) {
      await expect(client.create(id, { args: ['true'] })).rejects.toMatchObject({ code: 'invalid_argument' });
    }
    await client.exec(containerId, 'one', { args: ['true'] });
    await expect(client.exec(containerId, 'one', { args: ['true'] })).rejects.toMatchObject({
      code: 'already_exists',
    });
  });

  test.each([
    ['process', { process: undefined }, /process must be an object, it is missing/],
    ['args', { process: { args: 'sh', cwd: '/' } }, /process\.args must be an array/],
    ['cwd', { process: { args: ['sh'], cwd: 'x' } }, /process\.cwd must be an absolute path/],
    ['mounts', { mounts: [{ destination: 1 }] }, /mounts\[0\]\.destination must be a string/],
    [
      'bind',
      { mounts: [{ destination: '/x', type: 'bind', source: '/no/such' }] },
      /mounts\[0\] binds \/no\/such/,
    ],
  ])('a config.json with a wrong %s', async (_what, change, message) => {
    const config = { ...ociConfig({ args: ['true'] }), ...change };
    await expect(client.create('wrong', { args: [], config })).rejects.toMatchObject({
      code: 'invalid_argument',
      message: expect.stringMatching(message),
    });
    await expect(client.start('wrong')).rejects.toMatchObject({ code: 'not_found' });
  });
});

describe('back-pressure', () => {
  test('a reader that pauses loses nothing, and the process waits', async () => {
    const process = await run(['seq', '1', '400000'], { paused: true });
    await until('a full window', () => process.received === MiB);
    process.resume();
    expect(ending(await process.end())).toBe('exited 0');
    expect(process.stdout.bytes).toBe(2_688_895);
  });

  test('a quick process on a terminal that nobody reads still exits, and its output is kept', async () => {
    const { containerId } = await idle();
    const process = await client.exec(containerId, 'tty', { args: ['seq', '1', '140000'], terminal: true });
    const { exit } = await client.requests.call('waitProcess', { containerId, execId: 'tty' });
    expect(exit?.waitStatus).toBe(0);
    await process.attach();
    await process.end();
    expect(process.stdout.text).toBe(`${numbers.slice(0, 140_000).join('\r\n')}\r\n`);
  });

  test('floods that nobody reads hold up nothing else', async () => {
    const { containerId } = await idle();
    const floods: ClientProcess[] = [];
    for (const id of ['flood-1', 'flood-2']) {
      const flood = await client.exec(containerId, id, { args: ['yes'], terminal: id === 'flood-2' });
      flood.paused = true;
      await flood.attach();
      floods.push(flood);
    }
    await until('full windows', () => floods.every((flood) => flood.received === MiB));
    const process = await client.exec(containerId, 'echo', { args: ['cat'], stdin: true });
    await process.attach();
    const bytes = randomBytes(4 * MiB);
    await process.write(bytes);
    process.endStdin();
    expect(ending(await process.end())).toBe('exited 0');
    expect(process.stdout.sha256()).toBe(sha256(bytes));
    for (const flood of floods) flood.send({ kind: 'signal', signal: 15 });
    await until('the floods to end', () => floods.every((flood) => flood.exit !== undefined));
    for (const flood of floods) {
      expect(ending(flood.exit as ExitRecord)).toBe('signalled SIGTERM');
      flood.resume();
      await flood.end();
    }
  });
});

describe('attaching', () => {
  test('again and again in mid-stream, over new connections, loses and doubles nothing', async () => {
    const bytes = randomBytes(32 * MiB);
    const process = await run(['cat'], { stdin: true });
    const written = process.write(bytes).then(() => process.endStdin());
    for (const fraction of [0.1, 0.3, 0.5, 0.8]) {
      await until(`${fraction} of the bytes`, () => process.stdout.bytes > bytes.length * fraction);
      client.drop();
      await until('the end of the connection', () => client.closedBy !== undefined);
      await client.connect();
      await process.attach();
    }
    await written;
    expect(ending(await process.end())).toBe('exited 0');
    expect(process.stdout.bytes).toBe(bytes.length);
    expect(process.stdout.sha256()).toBe(sha256(bytes));
  });

  test('after the exit gives the output and the exit again', async () => {
    const process = await client.create('late', { args: ['sh', '-c', 'echo late; exit 6'] });
    alive.add('late');
    await client.start('late');
    await client.requests.call('waitProcess', { containerId: 'late', execId: '' });
    await process.attach();
    expect(ending(await process.end())).toBe('exited 6');
    expect(process.stdout.text).toBe('late\n');
    process.exit = undefined;
    await process.attach();
    expect(ending(await process.end())).toBe('exited 6');
    expect(process.stdout.text).toBe('late\n');
  });

  test('needs the token, and a process that is there', async () => {
    const process = await idle();
    await process.attach(Buffer.alloc(16));
    expect(process.refused).toMatchObject({ code: Code.permission_denied });
    await client.remove(process.containerId);
    alive.delete(process.containerId);
    await process.attach();
    expect(process.refused).toMatchObject({ code: Code.not_found });
  });

  test('a stream frame that breaks the rules costs the attachment, not the link that others share', async () => {
    const [mad, sane] = [await idle(), await idle()];
    await mad.attach();
    await sane.attach();
    mad.send({ kind: 'signal', signal: 0 });
    await until('REFUSED', () => mad.refused !== undefined);
    expect(mad.refused).toMatchObject({ code: Code.invalid_argument });
    sane.send({ kind: 'signal', signal: 9 });
    expect(ending(await sane.end())).toBe('signalled SIGKILL');
    expect(client.closedBy).toBeUndefined();
  });

  test('a peer whose frames break the rules of the link loses its connection only', async () => {
    const process = await idle();
    client.connection?.send({ type: FrameType.BOUND });
    await until('GOAWAY', () => client.closedBy !== undefined);
    expect(client.closedBy).toMatchObject({ code: 'invalid_argument' });
    await client.connect();
    await process.attach();
    process.send({ kind: 'signal', signal: 9 });
    expect(ending(await process.end())).toBe('signalled SIGKILL');
  });
});

describe('removing', () => {
  test('needs force while it runs, and leaves nothing', async () => {
    const { containerId } = await idle();
    const exec = await client.exec(containerId, 'x', { args: ['sleep', '1000'] });
    const mine = () => descendants(agent.pid);
    expect(mine().length).toBeGreaterThanOrEqual(2);
    await expect(
      client.requests.call('removeContainer', { containerId, force: false }),
    ).rejects.toMatchObject({
      code: 'failed_precondition',
    });
    const descriptors = readdirSync(`/proc/${agent.pid}/fd`).length;
    await client.remove(containerId);
    alive.delete(containerId);
    expect(exec.handle.pid).toBeGreaterThan(0);
    expect(mine()).toEqual([]);
    expect(readdirSync(`${agent.stateFolder}/containers`)).toEqual([]);
    expect(readdirSync(`${agent.stateFolder}/crun`)).toEqual([]);
    expect(readdirSync(`${agent.stateFolder}/crun-runs`)).toEqual([]);
    // Two processes with a stdout and a stderr each.
    expect(readdirSync(`/proc/${agent.pid}/fd`).length).toBe(descriptors - 4);
  });

  test('destroying the sandbox ends everything, after the answer', async () => {
    const second = await LocalAgent.start();
    let exitCode: number | null = null;
    try {
      const host = await second.connect();
      await host.createSandbox(second.folder);
      const process = await host.create('one', { args: ['sleep', '1000'] });
      await host.start('one');
      await host.requests.call('destroySandbox', {});
      await until('the end of the agent', () => second.ended);
      expect(existsSync(`/proc/${process.handle.pid}`)).toBe(false);
      expect(existsSync(second.stateFolder)).toBe(false);
      expect(existsSync(second.linkPath)).toBe(false);
    } finally {
      exitCode = await second.stop();
    }
    expect(exitCode).toBe(0);
  });
});

test('says who it is, and that it isolates nothing', async () => {
  const details = await client.requests.call('getAgentDetails', {});
  expect(details).toMatchObject({
    local: true,
    sandboxId: 'test',
    crunVersion: expect.stringMatching(/^\d/),
    bootStages: [],
    uptimeMs: 0,
    memory: undefined,
  });
});

function descendants(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean);
  return children.map(Number).filter((child) => !readlinkSync(`/proc/${child}/exe`).endsWith('crun'));
}
