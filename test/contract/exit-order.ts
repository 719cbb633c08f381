/**
 * The exit comes after the last byte that the process wrote, and waits for nobody else: not for a grandchild that
 * keeps the pipe or the terminal, not for a proxy that dies. docs/processes.md says what becomes of the grandchild.
 */
import { randomUUID } from 'node:crypto';
import type { Readable } from 'node:stream';
import type { Container, ContainerProcess } from '@coracle/client';
import { describe, expect, test } from 'vitest';
import { containerConfig } from '../support/config.ts';
import { inBatches } from './exits.ts';
import { guestEnv, MiB, RandomFile, type SharedContainer, sha256, within } from './place.ts';

const KiB = 1024;
const sizeBytes = {
  /** More than pipe, terminal and shim hold, less than one window. */
  some: 300 * KiB,
  /** All that a stuck reader lets a process write (1 MiB), and a bit that stays in the pipe at the exit. */
  beyondCredit: MiB + 40 * KiB,
} as const;

/** What the grandchild keeps open, as a redirection of it. */
const keeps = {
  'both pipes': '',
  'stderr alone': '>/dev/null',
  'stdout alone': '2>/dev/null',
} as const;

type Reader = 'quick' | 'slow' | 'stuck until after the exit';

export function exitOrderSuite(shared: () => SharedContainer): void {
  describe('a grandchild that outlives its process', () => {
    for (const [what, redirection] of Object.entries(keeps)) {
      test(`and keeps ${what}, delays neither exit nor bytes`, async () => {
        for (const reader of ['quick', 'slow', 'stuck until after the exit'] as const)
          await outlived(shared(), { redirection, reader, bytes: sizeBytes.some });
      });
    }

    test('and keeps the terminal, delays neither exit nor bytes', async () => {
      for (const reader of ['quick', 'slow', 'stuck until after the exit'] as const)
        await outlived(shared(), { terminal: true, reader, bytes: sizeBytes.some });
    });

    test('does not cost the bytes for which there was no credit at the exit', async () => {
      const reader = 'stuck until after the exit';
      await outlived(shared(), { reader, bytes: sizeBytes.beyondCredit });
    });

    test('does not matter when the proxy is killed before the exit, and after it', async () => {
      const reader = 'stuck until after the exit';
      await outlived(shared(), { reader, bytes: sizeBytes.beyondCredit, killProxy: true });
      await outlived(shared(), { terminal: true, reader, bytes: sizeBytes.some, killProxy: true });
    });

    test('does not hold coracle exec up', async () => {
      const { place, container } = shared();
      const grandchild = new Grandchild(container);
      const random = new RandomFile(place, sizeBytes.some);
      const running = shared().startExec(['sh', '-c', grandchild.script({ bytes: random.bytes.length })]);
      const said = collect(running.child.stdout!);
      expect(await running.ended()).toBe(3);
      await grandchild.writesOn();
      expect(
        sha256()
          .update(await said)
          .digest('hex'),
      ).toBe(random.sha256);
    });
  });

  describe('short execs', () => {
    for (const terminal of [false, true]) {
      const where = terminal ? 'terminals' : 'pipes';
      test(`200 on ${where} that print and end at once give it whole`, { timeout: 120_000 }, async () => {
        const numbers = Array.from({ length: 200 }, (_, n) => n);
        const ends = await inBatches(numbers, 8, async (n) => {
          const args = ['sh', '-c', `echo begin ${n}; seq ${n} ${n + 99}; exit ${n}`];
          const process = await shared().container.exec({ args, env: guestEnv, terminal });
          const { stdout, result } = await process.output();
          return { text: stdout.toString().replaceAll('\r\n', '\n'), code: result.code };
        });
        const wanted = numbers.map((n) => ({
          text: [`begin ${n}`, ...Array.from({ length: 100 }, (_, line) => n + line), ''].join('\n'),
          code: n,
        }));
        expect(ends).toEqual(wanted);
      });
    }
  });

  describe('late waiters', () => {
    test('learn of an exec that has ended, however often and by whichever way', async () => {
      const { container, place } = shared();
      const args = ['sh', '-c', 'echo bytes; exit 7'];
      const process = await container.exec({ args, env: guestEnv, id: randomUUID(), attach: false });
      expect([(await process.wait()).code, (await process.wait()).code]).toEqual([7, 7]);
      // Nobody was attached at its end: the bytes are there still, for whoever comes by another connection.
      await place.killProxy();
      await using other = await shared().connect();
      const taken = await other.attach(process.handle);
      const { stdout, result } = await taken.output();
      expect({ text: String(stdout), code: result.code }).toEqual({ text: 'bytes\n', code: 7 });
      expect((await taken.wait()).code).toBe(7);
      await place.killProxy();
      expect((await process.wait()).code).toBe(7);
      // Once more from the start: delivered bytes are not given again, the exit is.
      await using third = await shared().connect();
      expect((await (await third.attach(process.handle)).wait()).code).toBe(7);
    });

    test('learn of an init until its container is removed, then not_found', async () => {
      const { sandbox, place } = shared();
      const container = await secondContainer(shared(), ['sh', '-c', 'exit 9']);
      const waiting = container.process.wait();
      await container.start();
      expect((await waiting).code).toBe(9);
      await place.killProxy();
      await using other = await shared().connect();
      const inits = [sandbox, other].map((client) => client.container(container.id).process);
      for (const init of [...inits, ...inits, container.process]) expect((await init.wait()).code).toBe(9);
      const { handle } = container.process;
      await container.remove();
      for (const init of inits) await expect(init.wait()).rejects.toMatchObject({ code: 'not_found' });
      await expect(other.attach(handle)).rejects.toMatchObject({ code: 'not_found' });
    });

    test('that wait while the proxy dies are told once it is back', async () => {
      const { container, place } = shared();
      const args = ['sh', '-c', 'read line; exit 5'];
      const process = await container.exec({ args, env: guestEnv, stdin: true });
      const waits = [process.wait(), process.wait()];
      await place.killProxy();
      process.stdin.end('go\n');
      expect((await Promise.all(waits)).map(({ code }) => code)).toEqual([5, 5]);
    });
  });
}

interface Case {
  readonly terminal?: boolean;
  readonly redirection?: string;
  readonly reader: Reader;
  readonly bytes: number;
  readonly killProxy?: boolean;
}

async function outlived(shared: SharedContainer, { terminal = false, ...options }: Case): Promise<void> {
  const { place, container } = shared;
  const random = new RandomFile(place, options.bytes);
  const grandchild = new Grandchild(container);
  const args = ['sh', '-c', grandchild.script({ ...options, terminal })];
  const process = await container.exec({ args, env: guestEnv, terminal });
  // As others see it, unlike a wait of who is attached: without the process's bytes.
  if (options.reader.startsWith('stuck')) {
    if (options.killProxy) await place.killProxy();
    await grandchild.parentEnded();
    if (options.killProxy) await place.killProxy();
  }
  const read = options.reader === 'slow' ? collectSlowly : collect;
  const work = Promise.all([read(process.stdout), read(process.stderr), process.wait()]);
  const [stdout, , result] = await within(
    work,
    30_000,
    `the exit while its grandchild lives (${options.reader})`,
  );
  expect({ code: result.code, sum: sha256().update(stdout).digest('hex') }).toEqual({
    code: 3,
    sum: random.sha256,
  });
  await grandchild.writesOn();
}

/** Outlives its parent, writes when it is told to, and leaves word when it could. */
class Grandchild {
  readonly #container: Container;
  readonly #name = `/tmp/${randomUUID()}`;

  constructor(container: Container) {
    this.#container = container;
  }

  script({
    bytes,
    redirection = '',
    terminal = false,
  }: Pick<Case, 'redirection' | 'terminal' | 'bytes'>): string {
    const name = this.#name;
    // A terminal's foreground processes get SIGHUP when its session's leader ends, with any runtime.
    const grandchild = `trap '' HUP; while [ ! -e ${name}.go ]; do sleep 0.05; done; echo later; echo later >&2; echo alive > ${name}.alive`;
    const raw = terminal ? 'stty raw -echo; ' : '';
    return `${raw}(${grandchild}) </dev/null ${redirection} & echo $$ > ${name}.pid; head -c ${bytes} /tmp/random; exit 3`;
  }

  /** Until the process that started it has been reaped. */
  async parentEnded(): Promise<void> {
    await this.#run(
      `while [ ! -s ${this.#name}.pid ] || [ -d /proc/$(cat ${this.#name}.pid) ]; do sleep 0.05; done`,
    );
  }

  /** It lives, and what it writes now neither blocks nor kills it. */
  async writesOn(): Promise<void> {
    await this.#run(`touch ${this.#name}.go; while [ ! -e ${this.#name}.alive ]; do sleep 0.05; done`);
  }

  async #run(script: string): Promise<void> {
    const process: ContainerProcess = await this.#container.exec({
      args: ['sh', '-c', script],
      env: guestEnv,
    });
    const { result, stderr } = await within(process.output(), 60_000, script);
    expect({ code: result.code, stderr: String(stderr) }).toEqual({ code: 0, stderr: '' });
  }
}

async function collect(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** The pace is the test: a few ms for each chunk, so that the exit finds bytes on their way everywhere. */
async function collectSlowly(stream: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of stream as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return Buffer.concat(chunks);
}

/** Beside the shared one, in the same VM. */
async function secondContainer(
  { sandbox, place }: SharedContainer,
  args: readonly string[],
): Promise<Container> {
  return await sandbox.createContainer({
    id: randomUUID(),
    config: containerConfig(args),
    // As `coracle` names its share; without a VM a path is the host's.
    rootfs: { share: 'containers', path: place.driver === 'local' ? place.rootfs : 'rootfs' },
    attach: false,
  });
}
