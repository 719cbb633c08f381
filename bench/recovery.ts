/**
 * kill -9 of the proxy, until bytes flow again: for each of ten sandboxes the time until a byte comes back that was
 * not yet written when the proxy died. It goes to `cat` and back, so both directions have recovered by then.
 */

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { Readable, Writable } from 'node:stream';
import type { Container } from '@coracle/client';
import { waitForExit } from '@coracle/sys';
import { LocalPlace } from './local-place.ts';
import type { Row } from './report.ts';
import { quantile } from './statistics.ts';

const root = path.dirname(import.meta.dirname);
const SANDBOXES = 10;
/** Adds at most this much to a measured time. */
const WRITE_EACH_MS = 5;
const DEADLINE_MS = 30_000;

export async function benchRecovery(kills: number): Promise<Row[]> {
  await using place = new LocalPlace();
  const startMs: number[] = [];
  for (let i = 0; i < 5; i++) startMs.push(await place.timeProxyStart());
  const tickers: Ticker[] = [];
  await using undo = new AsyncDisposableStack();
  for (let i = 0; i < SANDBOXES; i++) {
    const { container } = await place.container();
    tickers.push(undo.use(await Ticker.start(container)));
  }
  const samples = await recoveries(tickers, kills, () => place.proxyPid());
  return [row(`recovery, ${SANDBOXES} sandboxes, local`, samples, startMs)];
}

/** The same with a shim for each process, as `coracle exec` starts them. Who notices first starts the proxy again. */
export async function benchShimRecovery(kills: number, binaries = `${root}/bin`): Promise<Row[]> {
  await using place = new LocalPlace();
  const startMs: number[] = [];
  for (let i = 0; i < 5; i++) startMs.push(await place.timeProxyStart());
  const tickers: Ticker[] = [];
  await using undo = new AsyncDisposableStack();
  for (let i = 0; i < SANDBOXES; i++) {
    const { sandbox, container } = await place.container();
    tickers.push(undo.use(await startShim(place, sandbox.id, container, binaries)));
  }
  const samples = await recoveries(tickers, kills, () => place.proxyPid());
  return [row(`recovery, ${SANDBOXES} shims of ${SANDBOXES} sandboxes, local`, samples, startMs)];
}

async function startShim(
  place: LocalPlace,
  sandboxId: string,
  container: Container,
  binaries: string,
): Promise<Ticker> {
  const { handle } = await container.exec({ args: ['cat'], stdin: true, attach: false });
  const args = [
    ...['--socket', place.socketPath, '--sandbox', sandboxId, '--process', String(handle.process), '--stdin'],
    ...['--start-proxy', path.join(binaries, 'coracle-start-proxy')],
  ];
  const env = {
    ...process.env,
    CORACLE_TOKEN: Buffer.from(handle.token).toString('hex'),
    CORACLE_PROXY_SOCKET: place.socketPath,
    CORACLE_SANDBOXES: path.join(place.folder, 'sandboxes'),
  };
  const shim = spawn(path.join(binaries, 'coracle-shim'), args, { env, stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(shim, 'exit');
  return new Ticker({ stdin: shim.stdin, stdout: shim.stdout, wait: () => ended });
}

/** The same with one VM, whose proxy `proxyPid` finds. */
export async function benchVmRecovery(
  container: Container,
  kills: number,
  proxyPid: () => number,
): Promise<Row[]> {
  await using ticker = await Ticker.start(container);
  return [row('recovery, one VM', await recoveries([ticker], kills, proxyPid))];
}

function row(name: string, samples: readonly number[], startMs?: readonly number[]): Row {
  return {
    name,
    unit: 'ms',
    samples,
    ...(startMs && { baseline: { name: 'start of a proxy to ready', samples: startMs } }),
    target: { text: '≤ 500 ms', atMost: 500 },
    note: `p90 ${quantile(samples, 0.9).toFixed(0)} ms`,
  };
}

async function recoveries(
  tickers: readonly Ticker[],
  kills: number,
  proxyPid: () => number,
): Promise<number[]> {
  const samples: number[] = [];
  for (let kill = 0; kill < kills; kill++) {
    await Promise.all(tickers.map((ticker) => ticker.next()));
    const pid = proxyPid();
    const start = performance.now();
    process.kill(pid, 'SIGKILL');
    await waitForExit(pid);
    // From the next write on: what was on its way before may still come out of a socket's buffer.
    const times = await Promise.all(
      tickers.map(async (ticker) => {
        await ticker.next();
        return performance.now() - start;
      }),
    );
    samples.push(...times);
  }
  return samples;
}

interface Cat {
  readonly stdin: Writable;
  readonly stdout: Readable;
  wait(): Promise<unknown>;
}

/** Writes a number every few milliseconds, which `cat` sends back. */
class Ticker implements AsyncDisposable {
  readonly #cat: Cat;
  readonly #timer: NodeJS.Timeout;
  #written = 0;
  #seen = 0;
  #rest = '';
  #wake: () => void = () => undefined;

  constructor(cat: Cat) {
    this.#cat = cat;
    cat.stdout.setEncoding('latin1').on('data', (text: string) => {
      const lines = (this.#rest + text).split('\n');
      this.#rest = lines.pop() ?? '';
      this.#seen = Number(lines.at(-1) ?? this.#seen);
      this.#wake();
    });
    this.#timer = setInterval(() => cat.stdin.write(`${++this.#written}\n`), WRITE_EACH_MS);
  }

  static async start(container: Container): Promise<Ticker> {
    return new Ticker(await container.exec({ args: ['cat'], stdin: true }));
  }

  /** Resolves when something has come back that was written after this call. */
  async next(): Promise<void> {
    const after = this.#written;
    const deadline = performance.now() + DEADLINE_MS;
    while (this.#seen <= after) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      const timer = setTimeout(resolve, DEADLINE_MS);
      await promise;
      clearTimeout(timer);
      if (performance.now() > deadline) throw new Error(`nothing came back within ${DEADLINE_MS} ms`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    this.#cat.stdin.end();
    await this.#cat.wait();
  }
}
