/** What workers do, over and over, in the long-lived sandbox: each with a result that is known before. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import type { Readable } from 'node:stream';
import { type ContainerProcess, isRpcError, type ProcessResult } from '@coracle/client';
import { guestEnv, killPid, MiB, type RandomFile, sha256 } from '../contract/place.ts';
import type { Random } from './random.ts';
import type { Tenant } from './tenant.ts';

export interface Work {
  readonly tenant: Tenant;
  readonly random: Random;
  /** In the container as /tmp/random. */
  readonly file: RandomFile;
}

export interface Operation {
  readonly name: string;
  readonly weight: number;
  readonly only?: 'local' | 'qemu';
  /** @throws Error when the result is not what it must be */
  run(work: Work): Promise<void>;
}

const MOST_BYTES = 4 * MiB;

export const operations: readonly Operation[] = [
  {
    name: 'exec, short',
    weight: 6,
    async run({ tenant, random }) {
      const [code, n, terminal] = [random.integer(256), random.integer(1e6), random.chance(0.4)];
      const { text, result } = await output(tenant, `echo ${n}; exit ${code}`, { terminal });
      assert.deepEqual({ text: text.trim(), code: result.code }, { text: String(n), code });
    },
  },
  {
    name: 'exec, output',
    weight: 5,
    run: (work) => readRandom(work, { terminal: work.random.chance(0.4), pauseMs: 0 }),
  },
  {
    name: 'exec, slow reader',
    weight: 3,
    run: (work) =>
      readRandom(work, { terminal: work.random.chance(0.3), pauseMs: work.random.between(1, 40) }),
  },
  {
    name: 'exec, reader goes away',
    weight: 3,
    run: ({ tenant, random }) =>
      tenant.use(async (container) => {
        const process = await container.exec({ args: ['yes'], env: guestEnv });
        await once(process.stdout, 'data');
        if (random.chance(0.5)) await pause(random.integer(50));
        process.stdout.destroy();
        const { code } = await process.wait();
        // SIGPIPE, or EPIPE for who ignores that.
        assert.ok(code === 141 || code === 1, `yes ended with ${code}`);
      }),
  },
  {
    name: 'exec, both ways',
    weight: 4,
    run: ({ tenant, random, file }) =>
      tenant.use(async (container) => {
        const process = await container.exec({ args: ['cat'], env: guestEnv, stdin: true });
        const bytes = file.bytes.subarray(0, random.size(MOST_BYTES));
        process.stdin.end(bytes);
        const { stdout, result } = await process.output();
        checkBytes(stdout, bytes);
        assert.equal(result.code, 0);
      }),
  },
  {
    name: 'exec, stdin stays open',
    weight: 3,
    run: ({ tenant, random }) =>
      tenant.use(async (container) => {
        const process = await container.exec({ args: ['cat'], env: guestEnv, stdin: true });
        const text = `${random.integer(1e9)}\n`;
        process.stdin.write(text);
        const [chunk] = (await once(process.stdout, 'data')) as [Buffer];
        assert.equal(String(chunk), text);
        process.signal('SIGTERM');
        assert.equal((await process.wait()).code, 143);
      }),
  },
  {
    name: 'exec, signals and sizes',
    weight: 3,
    run: ({ tenant, random }) =>
      tenant.use(async (container) => {
        const [columns, rows] = [random.between(10, 300), random.between(5, 100)];
        const script = `trap 'exit 44' USR1; until [ "$(stty size 2>/dev/null)" = "${rows} ${columns}" ]; do sleep 0.05; done; echo sized; while :; do sleep 0.05; done`;
        const process = await container.exec({ args: ['sh', '-c', script], env: guestEnv, terminal: true });
        const collected = collect(process.stdout, (text) => {
          if (text.includes('sized')) process.signal('SIGUSR1');
        });
        process.resize({ columns: columns + 1, rows });
        process.resize({ columns, rows });
        assert.equal((await process.wait()).code, 44);
        assert.equal(String(await collected), 'sized\r\n');
      }),
  },
  {
    name: 'exec, grandchild stays',
    weight: 2,
    async run({ tenant, random }) {
      const script = `(trap '' HUP; sleep 100; echo late) & echo early; exit 4`;
      const { text, result } = await output(tenant, script, { terminal: random.chance(0.5) });
      assert.deepEqual({ text: text.trim(), code: result.code }, { text: 'early', code: 4 });
    },
  },
  {
    name: 'exec, given up',
    weight: 2,
    run: ({ tenant, random }) =>
      tenant.use(async (container) => {
        try {
          const process = await container.exec({
            // Long enough that only the signal ends it, on a host that is starved of CPU too.
            args: ['sleep', '100'],
            env: guestEnv,
            signal: AbortSignal.timeout(random.between(1, 100)),
          });
          assert.ok(process.signal('SIGKILL'));
          assert.equal((await process.wait()).code, 137);
        } catch (error) {
          if (!isRpcError(error) || error.code !== 'cancelled') throw error;
        }
      }),
  },
  {
    name: 'exec, by another client',
    weight: 2,
    run: ({ tenant, random, file }) =>
      tenant.use(async (container) => {
        const bytes = random.size(MiB);
        const args = ['head', '-c', String(bytes), '/tmp/random'];
        const process = await container.exec({ args, env: guestEnv, attach: false });
        await using other = await tenant.shared.connect();
        const attached = await other.attach(process.handle);
        const { stdout, result } = await attached.output();
        checkBytes(stdout, file.bytes.subarray(0, bytes));
        assert.deepEqual([result.code, (await process.wait()).code], [0, 0]);
      }),
  },
  {
    name: 'container',
    weight: 2,
    async run({ tenant, random, file }) {
      const bytes = random.size(MiB);
      const container = await tenant.createContainer(['head', '-c', String(bytes), '/tmp/random']);
      await container.start();
      const { stdout, result } = await container.process.output();
      checkBytes(stdout, file.bytes.subarray(0, bytes));
      assert.equal(result.code, 0);
      await container.remove();
      await assert.rejects(container.start(), { code: 'not_found' });
    },
  },
  {
    name: 'container, removed by force',
    weight: 2,
    async run({ tenant, random }) {
      const container = await tenant.createContainer(['yes']);
      if (random.chance(0.8)) await container.start();
      const exec = random.chance(0.5) ? container.exec({ args: ['yes'], env: guestEnv }) : undefined;
      const process = await exec?.catch(() => undefined);
      if (random.chance(0.5)) await pause(random.integer(100));
      await container.remove({ force: true });
      await assert.rejects(tenant.shared.sandbox.container(container.id).process.wait(), {
        code: 'not_found',
      });
      // Whoever is attached still learns of the end: killed, or, where output was left in the guest, removed.
      for (const one of process === undefined ? [container.process] : [container.process, process]) {
        one.stdout.on('error', () => undefined).resume();
        const end = await one.wait().catch((error: unknown) => error);
        const code = isRpcError(end) ? end.code : (end as ProcessResult).code;
        assert.ok(code === 137 || code === 'not_found', `a removed process ended with ${code}`);
      }
    },
  },
  {
    name: 'container, paused',
    weight: 2,
    only: 'qemu',
    async run({ tenant, random }) {
      const container = await tenant.createContainer(['seq', '1', '20000']);
      const { process } = container;
      await container.start();
      const work = process.output();
      try {
        await container.pause();
        await pause(random.integer(500));
        await container.resume();
      } catch (error) {
        // It had ended already.
        if (!isRpcError(error) || error.code !== 'failed_precondition') throw error;
      }
      const { stdout, result } = await work;
      assert.deepEqual([stdout.length, result.code], [108_894, 0]);
      await container.remove();
    },
  },
  {
    name: 'coracle exec',
    weight: 2,
    async run({ tenant, random, file }) {
      const [code, bytes] = [random.integer(126), random.size(MiB)];
      const ended = await tenant.shared.exec(['sh', '-c', `head -c ${bytes} /tmp/random; exit ${code}`]);
      assert.deepEqual({ code: ended.code, stderr: ended.stderr }, { code, stderr: '' });
      checkBytes(Buffer.from(ended.stdout, 'latin1'), file.bytes.subarray(0, bytes));
    },
  },
  {
    name: 'coracle exec, killed',
    weight: 1,
    async run({ tenant, random }) {
      const running = tenant.shared.startExec(['sh', '-c', 'echo ready; exec sleep 3']);
      if (random.chance(0.7)) await running.says('ready');
      killPid(running.pid, 'SIGKILL');
      assert.equal(await running.ended(), 137);
    },
  },
];

/** A few MiB at most of known bytes, by pipe or terminal. */
async function readRandom(
  { tenant, random, file }: Work,
  { terminal, pauseMs }: { terminal: boolean; pauseMs: number },
): Promise<void> {
  await tenant.use(async (container) => {
    const [code, bytes] = [random.integer(256), random.size(MOST_BYTES)];
    const script = `${terminal ? 'stty raw; ' : ''}head -c ${bytes} /tmp/random; exit ${code}`;
    const process = await container.exec({
      args: ['sh', '-c', script],
      env: guestEnv,
      terminal,
      id: randomUUID(),
    });
    const wait = process.wait();
    const stdout = await collect(process.stdout, () => (pauseMs === 0 ? undefined : pause(pauseMs)));
    checkBytes(stdout, file.bytes.subarray(0, bytes));
    assert.equal((await wait).code, code);
  });
}

async function output(tenant: Tenant, script: string, options: { terminal: boolean }) {
  return await tenant.use(async (container) => {
    const args = ['sh', '-c', script];
    const process: ContainerProcess = await container.exec({ args, env: guestEnv, ...options });
    const { stdout, result } = await process.output();
    return { text: stdout.toString('latin1'), result };
  });
}

async function collect(stream: Readable, then: (text: string) => void | Promise<void>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    await then(chunk.toString('latin1'));
  }
  return Buffer.concat(chunks);
}

export function checkBytes(got: Buffer, wanted: Buffer): void {
  const sum = (bytes: Buffer) => `${bytes.length} bytes, ${sha256().update(bytes).digest('hex')}`;
  if (!got.equals(wanted)) throw new Error(`got ${sum(got)}; wanted ${sum(wanted)}`);
}

/** Churn is random in time too; no result depends on it. */
export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
