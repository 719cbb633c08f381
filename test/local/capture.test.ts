/**
 * Captures of the real proxy with the real agent: switched on and off while streams run, across a killed proxy, and
 * with a reader that stands still. What a capture holds is told in packages/wire and packages/tap.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, readFileSync, writeFileSync } from 'node:fs';
import { type IncomingMessage, request } from 'node:http';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Container, Coracle, type Sandbox } from '@coracle/client';
import { CaptureFiles, captureFromProxy, Flows, readCapture, type SandboxFlow } from '@coracle/tap';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { containerConfig, type LocalPlace, makeLocalPlace, startIdle, until } from './local-sandbox.ts';

let place: LocalPlace;
let sandbox: Sandbox;
let container: Container;

beforeAll(async () => {
  place = await makeLocalPlace();
  sandbox = await place.startSandbox();
  container = await startIdle(sandbox, 'main');
});

afterAll(async () => {
  await sandbox.destroy();
  await place[Symbol.asyncDispose]();
});

/** A recording that is under way, as `coracle-tap record` makes it. */
async function record(name: string, options: { sandboxes?: string[]; payload?: boolean } = {}) {
  const path = join(place.directory, name);
  const files = new CaptureFiles({ path, maxFileBytes: 1e9, files: 1 });
  const end = new AbortController();
  let capturing = 0;
  const capture = captureFromProxy({
    socketPath: place.proxySocket,
    content: options.payload ? 'payload' : 'digests',
    sandboxes: options.sandboxes ?? [],
    signal: end.signal,
    onState: (state) => {
      files.newSection();
      if (state === 'capturing') capturing++;
    },
  });
  const done = (async () => {
    for await (const chunk of capture) files.write(chunk);
    files.close();
  })();
  await until(() => capturing > 0, 'the capture has begun');
  return {
    path,
    files,
    starts: () => capturing,
    async stop(): Promise<Flows> {
      end.abort();
      await done;
      return await flowsOf(path);
    },
  };
}

async function flowsOf(path: string): Promise<Flows> {
  const problems: string[] = [];
  const flows = new Flows({
    violation: (_flow, record, what) => void problems.push(`${record.number}: ${what}`),
    loss: (_flow, record, what) => void problems.push(`${record.number}: ${what}`),
  });
  await readCapture(path, { record: (one) => void flows.take(one), counters: (one) => flows.counters(one) });
  expect(problems).toEqual([]);
  return flows;
}

const flowOf = (flows: Flows): SandboxFlow => flows.sandboxes.get(sandbox.id) as SandboxFlow;
const run = async (command: string): Promise<string> => {
  const process = await container.exec({ args: ['sh', '-c', command] });
  return (await process.output({ maxBytes: 64e6 })).stdout.toString();
};

test('it is switched on and off while a sandbox runs, and sees what happens in between', async () => {
  await run('echo before');
  const recording = await record('between');
  await run('echo hunter2-swordfish');
  const ended = async (): Promise<boolean> =>
    [...flowOf(await flowsOf(recording.path)).processes.values()].some(
      ({ made, complete }) => made !== undefined && complete,
    );
  await until(ended, 'its end is recorded');
  const flows = await recording.stop();
  await run('echo after');
  const flow = flowOf(flows);
  const [only] = [...flow.processes.values()].filter(({ made }) => made !== undefined);
  expect(flow.names.process(only?.number ?? 0)).toMatchObject({ container: 'main' });
  expect(only).toMatchObject({ exit: { cause: 'exited' } });
  expect(only?.streams[2]).toMatchObject({ bytes: 18, complete: true });
  expect(readFileSync(recording.path).includes('swordfish')).toBe(false);
});

test('other sandboxes are left out when one is asked for, and payloads are there when they are', async () => {
  const none = await record('none', { sandboxes: ['another'] });
  const payload = await record('payload', { sandboxes: [sandbox.id], payload: true });
  await run('echo hunter2-swordfish');
  await until(() => readFileSync(payload.path).includes('swordfish\n'), 'the payload is recorded');
  await payload.stop();
  expect((await none.stop()).sandboxes.size).toBe(0);
});

test('it goes on with the next proxy when one is killed in mid-stream', async () => {
  const recording = await record('killed');
  const args = ['sh', '-c', 'seq 1 100000; read go; seq 1 100000'];
  const process = await container.exec({ args, stdin: true });
  let bytes = 0;
  let killed: Promise<void> | undefined;
  process.stdout.on('data', (chunk: Buffer) => {
    bytes += chunk.length;
    killed ??= place.killProxy();
  });
  // The stream must not be over before the recording is back, or the next proxy would not see it at all.
  await until(() => recording.starts() === 2, 'the next proxy is recorded');
  process.stdin?.end('go\n');
  await process.wait();
  await killed;
  await until(() => bytes === 2 * 588_895, 'every byte is here');
  // What was written after that crossed the next proxy only. Its ATTACH may have come before the recording did.
  const whole = async (): Promise<boolean> =>
    [...flowOf(await flowsOf(recording.path)).processes.values()].some(
      ({ streams }) => streams[2].highest === bytes,
    );
  await until(whole, 'the last byte is recorded');
  await recording.stop();
});

test('the library captures what it sends and receives, across a killed proxy, and payloads only when asked', async () => {
  const open = (name: string, content?: 'payload') => {
    const path = join(place.directory, name);
    const to = createWriteStream(path, { mode: 0o600 });
    const capture = content === undefined ? { to } : { to, content };
    const startProxy = () => place.ensureProxy();
    return { path, library: new Coracle({ proxy: place.proxySocket, startProxy, capture }) };
  };
  for (const { path, library } of [open('library'), open('library-payload', 'payload')]) {
    const own = await library.connect(sandbox.id);
    const words = await own
      .container('main', containerConfig([]))
      .exec({ args: ['sh', '-c', 'echo hunter2-swordfish; read end'], stdin: true });
    await once(words.stdout, 'data');
    await place.killProxy();
    words.stdin.end('go\n');
    await words.wait();
    own.close();
    await library.endCapture();
    const flow = flowOf(await flowsOf(path));
    const [only] = [...flow.processes.values()];
    expect(only).toMatchObject({ exit: { cause: 'exited' }, attaches: 2 });
    expect(only?.streams[1]).toMatchObject({ bytes: 3, final: 3 });
    expect(only?.streams[2]).toMatchObject({ bytes: 18, complete: true });
    expect([...flow.clients.values()]).toHaveLength(2);
    expect(readFileSync(path).includes('swordfish\n')).toBe(path.endsWith('payload'));
  }
});

test('the agent captures what it sends and receives while the host asks, without that itself', async () => {
  const end = new AbortController();
  const chunks: Buffer[] = [];
  const done = (async () => {
    for await (const bytes of sandbox.capture({ signal: end.signal })) chunks.push(bytes);
  })();
  const path = join(place.directory, 'agent');
  const flow = async (): Promise<SandboxFlow> => {
    writeFileSync(path, Buffer.concat(chunks));
    return flowOf(await flowsOf(path));
  };
  await until(() => chunks.length > 0, 'the capture has begun');
  expect(await run('echo hunter2-swordfish')).toBe('hunter2-swordfish\n');
  expect((await run('seq 1 400000')).length).toBe(2_688_895);
  const seen = async () => [...(await flow()).processes.values()].filter(({ complete }) => complete);
  await until(async () => (await seen()).length >= 2, 'both ends are captured');
  const [words, numbers] = await seen();
  expect(words?.streams[2]).toMatchObject({ bytes: 18, repeatedBytes: 0 });
  expect(numbers?.streams[2]).toMatchObject({ bytes: 2_688_895, repeatedBytes: 0 });
  expect([...(await flow()).clients.values()]).toMatchObject([{ program: 'coracle-proxy' }]);
  const bytes = Buffer.concat(chunks);
  expect(bytes.includes('ExecProcess')).toBe(true);
  for (const absent of ['swordfish', 'ReadCapture']) expect(bytes.includes(absent)).toBe(false);
  end.abort();
  await done;
});

test('a capture in the agent goes on when the link is made anew, as a new section', async () => {
  const path = join(place.directory, 'agent-again');
  const files = new CaptureFiles({ path, maxFileBytes: 1e9, files: 1 });
  const end = new AbortController();
  const done = (async () => {
    for await (const bytes of sandbox.capture({ content: 'headers', signal: end.signal })) files.write(bytes);
    files.close();
  })();
  await until(() => files.packets > 0, 'the capture has begun');
  await place.killProxy();
  await run('echo again');
  await until(
    async () => (await readCapture(path, { record: () => undefined })).sections === 2,
    'a new section',
  );
  const complete = async () =>
    [...flowOf(await flowsOf(path)).processes.values()].some((one) => one.complete);
  await run('echo third');
  await until(complete, 'its end is captured');
  end.abort();
  await done;
});

test('coracle-tap record --in-agent writes what the agent sees, and says when there is no such sandbox', async () => {
  const path = join(place.directory, 'in-agent');
  const tap = fileURLToPath(new URL('../../packages/tap/src/main.ts', import.meta.url));
  const env = { ...process.env, CORACLE_PROXY_SOCKET: place.proxySocket };
  const options = [tap, 'record', '--in-agent', '--output', path];
  const child = spawn(process.execPath, [...options, sandbox.id], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  await once(child.stderr, 'data');
  await run('echo in the agent');
  const exited = async () => [...flowOf(await flowsOf(path)).processes.values()].some(({ exit }) => exit);
  await until(exited, 'the exit is recorded');
  child.kill('SIGINT');
  expect(await once(child, 'exit')).toEqual([0, null]);
  const nobody = spawn(process.execPath, [...options.slice(0, -1), `${path}2`, 'nobody'], {
    env,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const said = await nobody.stderr.setEncoding('utf8').toArray();
  expect(said.join('')).toContain('the agent of nobody gives no capture');
});

test('a reader that stands still costs records, which are counted, and holds up nobody', async () => {
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    const path = '/capture?content=payload';
    request({ socketPath: `${place.proxySocket}.debug`, path, agent: false }, resolve)
      .on('error', reject)
      .end();
  });
  response.pause();
  expect((await run('seq 1 8000000 | tail -c 40000000')).length).toBe(40_000_000);
  const chunks: Buffer[] = [];
  response.on('data', (chunk: Buffer) => void chunks.push(chunk)).resume();
  const path = join(place.directory, 'still');
  const dropped = async (): Promise<number> => {
    writeFileSync(path, Buffer.concat(chunks));
    return (chunks.length > 0 && (await flowsOf(path)).sandboxes.get(sandbox.id)?.dropped) || 0;
  };
  await until(async () => (await dropped()) > 100, 'the reader is told what it has missed');
  response.destroy();
});

test.each([
  ['/capture?content=everything', 400, 'content is one of headers, digests, payload'],
  ['/capture?sandboxes=a', 400, 'there is no parameter sandboxes'],
  ['/', 404, 'there are /capture, /metrics and /links'],
])('%s is answered with %i', async (path, status, text) => {
  await place.ensureProxy();
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    request({ socketPath: `${place.proxySocket}.debug`, path, agent: false }, resolve)
      .on('error', reject)
      .end();
  });
  const parts: Buffer[] = [];
  for await (const part of answer) parts.push(part as Buffer);
  expect(answer.statusCode).toBe(status);
  expect(Buffer.concat(parts).toString()).toContain(text);
});
