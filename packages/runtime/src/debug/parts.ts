/**
 * The files of an archive of `coracle debug`, in the order in which they are collected. Each is made of fields that are
 * listed here, so that what is new is left out until somebody has thought about it.
 */
import { execFile } from 'node:child_process';
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { promisify } from 'node:util';
import { statusOf } from '../container/status.ts';
import { readEnvironment } from '../host/environment.ts';
import type { Settings } from '../host/settings.ts';
import { askProxy } from './proxy-http.ts';
import type { DebugTarget } from './target.ts';

export interface PartContext {
  readonly target: DebugTarget;
  readonly settings: Settings;
  readonly root: string;
  /** How long frames are captured. */
  readonly captureMs: number;
  /** Of this part's deadline. */
  readonly signal: AbortSignal;
}

export interface Part {
  readonly file: string;
  readonly what: string;
  /** After which it is gone without; besides what `captureMs` takes. */
  readonly deadlineMs: number;
  /** @throws whatever it could not get */
  collect(context: PartContext): Promise<string | Buffer> | string | Buffer;
}

const QUICK_MS = 3000;
const ASKED_MS = 5000;
const LOG_TAIL_BYTES = 256 * 1024;

/** Of state.json and of vm.json: what may be told. */
const STATE_FIELDS = [
  ...(['id', 'phase', 'paused', 'ociVersion', 'createdAt', 'owner', 'sandboxId'] as const),
  ...(['driver', 'resources', 'shim', 'runner', 'ownProcesses'] as const),
];
const RECORD_FIELDS = [
  ...(['version', 'driver', 'state', 'createdAt', 'accel', 'transport', 'template', 'cid'] as const),
  ...(['image', 'memoryBytes', 'vcpus', 'main', 'shares', 'helpers'] as const),
];

export const parts: readonly Part[] = [
  {
    file: 'configuration.json',
    what: 'versions and the configuration in force',
    deadlineMs: QUICK_MS,
    collect: async ({ root, settings, signal }) => {
      const environment = await readEnvironment(root, settings);
      return json({ ...environment, qemuVersion: await firstLine(environment.programs.qemu, signal) });
    },
  },
  {
    file: 'container.json',
    what: "the container's state",
    deadlineMs: QUICK_MS,
    collect: ({ target: { state } }) => {
      if (state === undefined) throw new Error('no container of this root has this sandbox');
      return json({ ...pick(state, STATE_FIELDS), status: statusOf(state) });
    },
  },
  {
    file: 'vm.json',
    what: 'the record of the VM',
    deadlineMs: QUICK_MS,
    collect: async ({ target }) => json(pick(await recordOf(target), RECORD_FIELDS)),
  },
  {
    file: 'processes.json',
    what: "the host's processes of this sandbox",
    deadlineMs: QUICK_MS,
    collect: async ({ target }) => json(await processesOf(target)),
  },
  {
    file: 'console.log',
    what: "the end of the guest's console",
    deadlineMs: QUICK_MS,
    collect: async ({ target }) => {
      const { vmPaths } = await import('@coracle/vm');
      return tail(vmPaths(target.sandboxDirectory).console);
    },
  },
  {
    file: 'vm.log',
    what: 'the end of what QEMU, virtiofsd or the local agent has said',
    deadlineMs: QUICK_MS,
    collect: ({ target }) => {
      const names = readdirSync(target.sandboxDirectory).filter((name) =>
        /^(qemu|agent|fs-.*)\.log$/.test(name),
      );
      return names.map((name) => `== ${name}\n${tail(`${target.sandboxDirectory}/${name}`)}`).join('\n');
    },
  },
  {
    file: 'proxy.log',
    what: "the end of the proxy's log",
    deadlineMs: QUICK_MS,
    collect: ({ target }) => tail(`${target.proxy.socketPath}.log`),
  },
  {
    file: 'links.json',
    what: "the proxy's link, its clients, open streams, and the headers of the last frames",
    deadlineMs: ASKED_MS,
    collect: ({ target, signal }) =>
      askProxy(target.proxy.socketPath, `/links?sandbox=${target.sandboxId}`, { signal }),
  },
  {
    file: 'metrics.txt',
    what: "the proxy's metrics",
    deadlineMs: ASKED_MS,
    collect: ({ target, signal }) => askProxy(target.proxy.socketPath, '/metrics', { signal }),
  },
  {
    file: 'agent.json',
    what: "the agent's own account: versions, memory, how it came up, what has crossed its end of the link",
    deadlineMs: ASKED_MS,
    collect: async ({ target, signal }) => json(await detailsOf(target, signal)),
  },
  {
    file: 'capture.pcapng',
    what: 'frames of the next seconds, headers alone',
    deadlineMs: ASKED_MS,
    collect: ({ target, signal, captureMs }) =>
      askProxy(target.proxy.socketPath, `/capture?content=headers&sandbox=${target.sandboxId}`, {
        signal,
        forMs: captureMs,
      }),
  },
];

function json(value: unknown): string {
  const text = JSON.stringify(value, (_, field) => (typeof field === 'bigint' ? String(field) : field), 2);
  return `${text}\n`;
}

async function firstLine(program: string | undefined, signal: AbortSignal): Promise<string | undefined> {
  if (program === undefined) return undefined;
  const { stdout } = await promisify(execFile)(program, ['--version'], { signal, env: {} });
  return stdout.split('\n', 1)[0];
}

async function recordOf({ sandboxDirectory }: DebugTarget) {
  const { readRecord } = await import('@coracle/vm');
  const record = readRecord(sandboxDirectory);
  if (record === undefined) throw new Error(`${sandboxDirectory} has no vm.json`);
  return record;
}

async function detailsOf({ proxy, sandboxId }: DebugTarget, signal: AbortSignal) {
  const { Coracle } = await import('@coracle/client');
  // What is there is looked at; nothing is started.
  const coracle = new Coracle({ proxy: proxy.socketPath, sandboxes: proxy.sandboxes });
  const sandbox = await coracle.connect(sandboxId, { signal });
  try {
    return await sandbox.details({ signal });
  } finally {
    sandbox.close();
  }
}

/** Of /proc/PID/status: how it stands and what it takes. Not its command line, not its environment. */
const STATUS_FIELDS =
  /^(Name|State|PPid|Threads|VmRSS|VmSwap|FDSize|SigBlk|SigIgn|SigCgt|voluntary_ctxt_switches|nonvoluntary_ctxt_switches):\s*(.*)$/gm;

async function processesOf(target: DebugTarget) {
  const record = await recordOf(target).catch(() => undefined);
  const named = {
    main: record?.main?.pid,
    shim: target.state?.shim?.pid,
    runner: target.state?.runner?.pid,
    ...Object.fromEntries(
      Object.entries(record?.helpers ?? {}).map(([tag, { pid }]) => [`virtiofsd ${tag}`, pid]),
    ),
  };
  return Object.fromEntries(
    Object.entries(named).flatMap(([name, pid]) => (pid === undefined ? [] : [[name, processOf(pid)]])),
  );
}

/** So a field that is added some day stays here until somebody names it. */
function pick<T extends object>(from: T, names: readonly (keyof T)[]): Partial<T> {
  return Object.fromEntries(names.map((name) => [name, from[name]])) as Partial<T>;
}

function processOf(pid: number): object {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const fields = Object.fromEntries(
      [...status.matchAll(STATUS_FIELDS)].map(([, name, value]) => [name, value]),
    );
    return { pid, ...fields, descriptors: count(`/proc/${pid}/fd`), waitsIn: read(`/proc/${pid}/wchan`) };
  } catch {
    return { pid, State: 'gone' };
  }
}

function count(folder: string): number | undefined {
  try {
    return readdirSync(folder).length;
  } catch {
    return undefined;
  }
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

/** From the beginning of a line on. */
function tail(path: string): string {
  const descriptor = openSync(path, 'r');
  try {
    const { size } = fstatSync(descriptor);
    const bytes = Buffer.alloc(Math.min(size, LOG_TAIL_BYTES));
    const length = readSync(descriptor, bytes, 0, bytes.length, size - bytes.length);
    const text = bytes.toString('utf8', 0, length);
    return size > bytes.length ? text.slice(text.indexOf('\n') + 1) : text;
  } finally {
    closeSync(descriptor);
  }
}
