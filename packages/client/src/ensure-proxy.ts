/** Starts the proxy daemon unless one listens. Any number of programs may do so at once: it takes a lock itself. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname, resolve } from 'node:path';
import { asRpcError, RpcError } from '@coracle/wire';
import { type Abortable, orAbort, sleep, throwIfAborted } from './abort.ts';

export interface EnsureProxyOptions extends Abortable {
  readonly socketPath: string;
  /** The daemon's program and arguments. It prints `ready` on stdout when it, or another one, listens. */
  readonly command: readonly string[];
  /** Its whole environment; this program's by default. */
  readonly env?: NodeJS.ProcessEnv;
  /** Where its stderr is appended; `<socketPath>.log` by default. */
  readonly logPath?: string;
}

const LOG_TAIL_BYTES = 2048;
/** From the lock to listening a daemon needs a few milliseconds. */
const LISTEN_DELAY_MS = 10;
const LISTEN_TRIES = 200;

/** What is being started, by its socket: ten sessions of one program that lose their proxy start one, not ten. */
const starting = new Map<string, Promise<void>>();

/**
 * @throws RpcError unavailable when the program can't be started or ends without a proxy that listens, with
 * the last lines of its log; permission_denied for a socket that may not be used; cancelled
 */
export async function ensureProxy(options: EnsureProxyOptions): Promise<void> {
  throwIfAborted(options.signal);
  if (await isListening(options.socketPath)) return;
  let started = starting.get(options.socketPath);
  if (started === undefined) {
    started = start(options).finally(() => starting.delete(options.socketPath));
    starting.set(options.socketPath, started);
  }
  await orAbort(started, options.signal);
}

async function start({
  socketPath,
  command,
  env = process.env,
  ...options
}: EnsureProxyOptions): Promise<void> {
  const [file, ...args] = command;
  if (file === undefined) throw new RpcError('invalid_argument', 'ensureProxy needs a command');
  mkdirSync(dirname(socketPath), { recursive: true, mode: 0o700 });
  const logPath = options.logPath ?? `${socketPath}.log`;
  const log = openSync(logPath, 'a', 0o600);
  let child: ChildProcess;
  try {
    // A session of its own: neither this program's end nor a Ctrl-C in its terminal may reach the daemon.
    // It keeps no folder of ours busy, so a path that is relative to ours is made whole.
    const program = file.includes('/') ? resolve(file) : file;
    child = spawn(program, args, { detached: true, env, cwd: '/', stdio: ['ignore', 'pipe', log] });
  } finally {
    closeSync(log);
  }
  const why = await readyOrEnd(child);
  child.stdout?.destroy();
  child.unref();
  // Another program's daemon may have been quicker, and have taken the lock without listening yet.
  for (let tries = 0; tries < LISTEN_TRIES; tries++) {
    if (await isListening(socketPath)) return;
    if (why !== undefined) break;
    await sleep(LISTEN_DELAY_MS);
  }
  throw new RpcError(
    'unavailable',
    `cannot start the proxy (${command.join(' ')}): ${why ?? 'it said ready, but nobody listens'}${tail(logPath)}`,
  );
}

/** @returns undefined when it said `ready`, otherwise what became of it */
function readyOrEnd(child: ChildProcess): Promise<string | undefined> {
  return new Promise((settle) => {
    let said = '';
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-64);
      if (/^ready$/m.test(said)) settle(undefined);
    });
    child.once('error', (error) => settle(error.message));
    child.once('close', (code, signal) => {
      settle(signal === null ? `it exited with code ${code}` : `it was ended by ${signal}`);
    });
  });
}

/** ECONNRESET: it died while it was asked. */
const notListening: ReadonlySet<string | undefined> = new Set(['ENOENT', 'ECONNREFUSED', 'ECONNRESET']);

function isListening(socketPath: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(socketPath);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (notListening.has(error.code)) resolve(false);
      else {
        const code = error.code === 'EACCES' || error.code === 'EPERM' ? 'permission_denied' : 'unavailable';
        reject(
          new RpcError(code, `cannot connect to the proxy on ${socketPath}: ${error.message}`, {
            cause: error,
          }),
        );
      }
    });
  });
}

function tail(logPath: string): string {
  try {
    const text = readFileSync(logPath).subarray(-LOG_TAIL_BYTES).toString('utf8').trim();
    return text === '' ? '' : `; its log ${logPath} ends with:\n${text}`;
  } catch (error) {
    return `; its log can't be read: ${asRpcError(error).reason}`;
  }
}
