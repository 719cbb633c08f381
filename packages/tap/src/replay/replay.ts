/**
 * Plays a recorded session again: a fresh agent of the local driver, a fresh proxy, and clients that do what the recorded
 * ones did. A capture is made of it, so that the same questions can be asked of both.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Coracle } from '@coracle/client';
import { createLocalDriver } from '@coracle/vm';
import type { CaptureContent } from '@coracle/wire';
import { type Diagnosis, diagnose } from '../diagnose/diagnose.ts';
import type { Cause } from '../diagnose/finding.ts';
import { CaptureFiles } from '../record/capture-files.ts';
import { captureFromProxy } from '../record/proxy-capture.ts';
import { makePlan, type Plan } from './plan.ts';
import { type Played, Player } from './player.ts';
import { makeRoot } from './stand-in.ts';

export interface ReplayOptions {
  readonly path: string;
  /** Where the capture of the replay goes; it must not exist. */
  readonly output?: string | undefined;
  /** With all bytes; lengths and digests otherwise. */
  readonly payload: boolean;
  /** Which one, where the capture has several. */
  readonly sandbox?: string | undefined;
  /** 2 is twice as fast. */
  readonly speed: number;
  /** The proxy's program and its first arguments, and the agent's. */
  readonly proxyCommand: readonly string[];
  readonly agentEntry: string;
  readonly signal: AbortSignal;
}

export interface Replay {
  readonly plan: Plan;
  readonly played: Played;
  readonly diagnosis: Diagnosis;
}

const MAX_CAPTURE_BYTES = 16 * 1024 ** 3;
const STALL_NS = 1e9;

/** @throws TapError; RpcError and VmError when no fresh agent can be had */
export async function replay(options: ReplayOptions): Promise<Replay> {
  const { path, sandbox: wanted, speed, signal } = options;
  await using undo = new AsyncDisposableStack();
  const folder = mkdtempSync(join(tmpdir(), 'coracle-replay-'));
  undo.defer(() => rmSync(folder, { recursive: true, force: true }));
  const rootPath = join(folder, 'root');
  const spools = makeRoot(rootPath);
  const plan = await makePlan(path, spools, { sandbox: wanted, signal });
  const proxy = new FreshProxy(folder, options.proxyCommand);
  undo.defer(() => proxy.kill());
  await proxy.start();
  const coracle = new Coracle({ proxy: proxy.socketPath, startProxy: () => proxy.start() });
  const sandbox = await coracle.startSandbox({
    vm: createLocalDriver({ agentEntry: options.agentEntry }),
    shares: [{ tag: 'host', binds: [] }],
    signal,
  });
  undo.defer(async () => await sandbox.destroy({ force: true }).catch(() => undefined));
  const output = options.output ?? join(folder, 'replay.pcapng');
  const recording = record(output, proxy.socketPath, sandbox.id, options.payload ? 'payload' : 'digests');
  undo.defer(() => recording.stop());
  await recording.begun;
  const player = new Player(plan, {
    socketPath: proxy.socketPath,
    sandbox: sandbox.id,
    folder: spools,
    rootPath,
    speed,
    killProxy: async () => {
      const again = recording.again();
      await proxy.kill();
      await proxy.start();
      // What comes first is to be in the capture.
      await again;
    },
  });
  undo.defer(() => player.close());
  await player.play(signal);
  await recording.stop();
  const diagnosis = await diagnose(output, { stallNs: STALL_NS / speed, signal });
  return { plan, played: player.played, diagnosis };
}

/** Causes of problems, each once. */
export function causesOf({ findings }: Diagnosis): Cause[] {
  return [...new Set(findings.flatMap(({ level, cause }) => (level === 'problem' ? [cause] : [])))].sort();
}

class FreshProxy {
  readonly socketPath: string;
  readonly #command: readonly string[];
  #child: ChildProcess | undefined;
  #starting: Promise<void> | undefined;

  constructor(folder: string, command: readonly string[]) {
    this.socketPath = join(folder, 'proxy.sock');
    const sandboxes = join(folder, 'sandboxes');
    mkdirSync(sandboxes);
    const options = ['--socket', this.socketPath, '--sandboxes', sandboxes, '--log-level', 'error'];
    this.#command = [...command, ...options];
  }

  /** Once, however many ask; resolves when it listens. */
  async start(): Promise<void> {
    this.#starting ??= this.#start();
    await this.#starting;
  }

  async #start(): Promise<void> {
    const [file = '', ...args] = this.#command;
    const child = spawn(file, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    this.#child = child;
    // It says `ready`, or ends.
    await Promise.race([once(child.stdout, 'data'), once(child, 'exit')]);
  }

  async kill(): Promise<void> {
    const child = this.#child;
    this.#starting = this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    const ended = once(child, 'exit');
    child.kill('SIGKILL');
    await ended;
  }
}

function record(path: string, socketPath: string, sandbox: string, content: CaptureContent) {
  const end = new AbortController();
  let begun = Promise.withResolvers<void>();
  const files = new CaptureFiles({ path, maxFileBytes: MAX_CAPTURE_BYTES, files: 1 });
  const done = (async () => {
    const capture = captureFromProxy({
      socketPath,
      content,
      sandboxes: [sandbox],
      signal: end.signal,
      onState: (state) => {
        files.newSection();
        if (state === 'capturing') begun.resolve();
      },
    });
    for await (const chunk of capture) files.write(chunk);
  })().finally(() => files.close());
  done.catch((error) => begun.reject(error));
  return {
    begun: begun.promise,
    /** When the next proxy is captured. */
    again(): Promise<void> {
      begun = Promise.withResolvers();
      return begun.promise;
    },
    async stop(): Promise<void> {
      end.abort();
      await done;
    },
  };
}
