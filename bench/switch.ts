/**
 * What switching costs: bytes through the proxy per second of its processor time, over unix sockets in frames of
 * 32 KiB. Around it are an agent and a client that do nothing else (bench/switch/). In the same run, with the same
 * processes around it: a bare pipe from socket to socket, and another TypeScript multiplexer at the proxy's place.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { Row } from './report.ts';
import { median } from './statistics.ts';
import { type Direction, SwitchClient } from './switch/client.ts';

const MIB = 1024 * 1024;
const WARM_UP_MS = 400;
const MEASURE_MS = 1500;
const SANDBOX = 'switched';
const programs = path.join(import.meta.dirname, 'switch');
/** Another build of the proxy may be measured: its command, words separated by spaces. */
const PROXY = (
  process.env.CORACLE_PROXY ?? path.join(path.dirname(import.meta.dirname), 'bin/coracle-proxy')
).split(' ');

/** One way through a process in the middle. */
export interface Way {
  /** The process whose time is counted. */
  readonly pid: number;
  /** Counts what has arrived. */
  readonly client: Disposable & { readonly bytes: number };
}

export interface Sample {
  /** MiB per second of the middle process's time. */
  readonly perCpuSecond: number;
  /** MiB per second by the clock, with all three processes on this machine's processors. */
  readonly perSecond: number;
}

export async function benchSwitch(rounds: number): Promise<Row[]> {
  const ways = {
    bare,
    out: (place: SwitchPlace) => throughProxy(place, 'out'),
    in: (place: SwitchPlace) => throughProxy(place, 'in'),
  } as const;
  const samples: Record<keyof typeof ways, Sample[]> = { bare: [], out: [], in: [] };
  for (let round = 0; round < rounds; round++) {
    for (const name of Object.keys(ways) as (keyof typeof ways)[]) {
      await using place = new SwitchPlace();
      samples[name].push(await measure(await ways[name](place)));
    }
  }
  const baseline = { name: 'bare pipe', samples: samples.bare.map((sample) => sample.perCpuSecond) };
  const row = (name: string, list: readonly Sample[]): Row => ({
    name,
    unit: 'MiB/s',
    samples: list.map((sample) => sample.perCpuSecond),
    baseline,
    target: { text: '≥ 1 GiB per CPU second', atLeast: 1024 },
    note: `by the clock ${median(list.map((sample) => sample.perSecond)).toFixed(0)} MiB/s, all three processes on this machine`,
  });
  return [
    row('switching output, per CPU second', samples.out),
    row('switching input, per CPU second', samples.in),
  ];
}

export async function measure(way: Way): Promise<Sample> {
  using _ = way.client;
  return await sample(way);
}

/** As it goes now; `way` may be measured again. */
export async function sample({ pid, client }: Way): Promise<Sample> {
  await pause(WARM_UP_MS);
  const [bytes, cpu, start] = [client.bytes, cpuSeconds(pid), performance.now()];
  await pause(MEASURE_MS);
  const mib = (client.bytes - bytes) / MIB;
  if (!(mib > 0)) throw new Error(`no bytes came through process ${pid}`);
  return {
    perCpuSecond: mib / (cpuSeconds(pid) - cpu),
    perSecond: mib / ((performance.now() - start) / 1000),
  };
}

/** A folder for sockets, and the processes around them. */
export class SwitchPlace implements AsyncDisposable {
  readonly folder = mkdtempSync(path.join(tmpdir(), 'coracle-bench-'));
  readonly proxySocket = path.join(this.folder, 'proxy.sock');
  readonly #children: ChildProcess[] = [];

  /** @returns its pid, when it has said `ready` */
  async start(command: readonly string[]): Promise<number> {
    const [file = '', ...args] = command;
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#children.push(child);
    const ended = once(child, 'exit').then(() => {
      throw new Error(`${command.join(' ')} ended`);
    });
    ended.catch(() => undefined);
    await Promise.race([once(child.stdout, 'data'), ended]);
    return child.pid as number;
  }

  async node(program: string, ...args: readonly string[]): Promise<number> {
    return await this.start([process.execPath, path.join(programs, program), ...args]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      const ended = once(child, 'exit');
      if (child.kill('SIGKILL')) await ended;
    }
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export async function throughProxy(place: SwitchPlace, direction: Direction): Promise<Way> {
  const sandboxes = path.join(place.folder, 'sandboxes');
  mkdirSync(path.join(sandboxes, SANDBOX), { recursive: true });
  const socket = place.proxySocket;
  await place.node('agent.ts', path.join(sandboxes, SANDBOX, 'link.sock'), direction);
  const pid = await place.start([
    ...PROXY,
    ...['--socket', socket, '--sandboxes', sandboxes, '--log-level', 'warn'],
  ]);
  return { pid, client: new SwitchClient(socket, SANDBOX, direction) };
}

async function bare(place: SwitchPlace): Promise<Way> {
  const [source, socket] = [path.join(place.folder, 'source'), path.join(place.folder, 'relay')];
  await place.node('bare.ts', 'source', source);
  const pid = await place.node('bare.ts', 'relay', socket, source);
  return { pid, client: countBytes(socket) };
}

function countBytes(socketPath: string): Way['client'] {
  const counter = { bytes: 0, [Symbol.dispose]: () => void socket.destroy() };
  const socket = net.connect({
    path: socketPath,
    onread: {
      buffer: Buffer.allocUnsafeSlow(MIB),
      callback: (count) => {
        counter.bytes += count;
        return true;
      },
    },
  });
  return counter;
}

/** Of all its threads. proc(5), schedstat: nanoseconds on a processor. */
function cpuSeconds(pid: number): number {
  const tasks = `/proc/${pid}/task`;
  let nanoseconds = 0;
  for (const task of readdirSync(tasks))
    nanoseconds += Number(readFileSync(`${tasks}/${task}/schedstat`, 'latin1').split(' ')[0]);
  return nanoseconds / 1e9;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
