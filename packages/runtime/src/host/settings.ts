/** Where things are: the environment, the defaults, and the programs of this installation. */
import { existsSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { CliError } from '../cli/errors.ts';

export type DriverName = 'qemu' | 'local';
export type ProxyMode = 'shared' | 'sandbox';

export const transports = ['auto', 'virtio-serial', 'vsock', 'unix', 'hybrid', 'hybrid-listen'] as const;
export type Transport = (typeof transports)[number];

export interface Settings {
  /** Sockets and the folders of virtual machines: CORACLE_RUN. */
  readonly runDirectory: string;
  /** The guest image: CORACLE_IMAGE, `out/image` of the checkout, or `images/current` in the cache folder. */
  readonly image: string;
  /** CORACLE_ACCEL. */
  readonly accel: 'auto' | 'kvm' | 'tcg';
  /** CORACLE_DRIVER. `local` has no VM and isolates nothing. */
  readonly driver: DriverName;
  /** CORACLE_TRANSPORT: what carries the link to the agent. Each driver has some of them. */
  readonly transport: Transport;
  /** CORACLE_TEMPLATE: `auto` (default) makes templates and uses them, `existing` makes none, `off` uses none. */
  readonly template: 'auto' | 'existing' | 'off';
  /** CORACLE_PROXY: one proxy for all VMs, or one for each. */
  readonly proxy: ProxyMode;
  /** CORACLE_METRICS: `[HOST:]PORT` on which a proxy that is started serves its metrics; `off` unless given. */
  readonly metrics: string;
  /** CORACLE_BOOT_TIMEOUT_MS: how long a guest may take until its agent answers. */
  readonly bootTimeoutMs: number;
}

export const defaultRoot = '/run/coracle/containers';
const defaultRun = '/run/coracle';
/** Under emulation on a loaded host a boot takes 5 to 20 s; a hung guest must not hold an engine for ever. */
const defaultBootTimeoutMs = 120_000;

/** @throws CliError that names the variable */
export function readSettings(env: NodeJS.ProcessEnv = process.env): Settings {
  return {
    runDirectory: folder(env, 'CORACLE_RUN') ?? defaultRun,
    image: folder(env, 'CORACLE_IMAGE') ?? defaultImage(env),
    accel: choice(env, 'CORACLE_ACCEL', ['auto', 'kvm', 'tcg']),
    driver: choice(env, 'CORACLE_DRIVER', ['qemu', 'local']),
    transport: choice(env, 'CORACLE_TRANSPORT', transports),
    template: choice(env, 'CORACLE_TEMPLATE', ['auto', 'existing', 'off']),
    proxy: choice(env, 'CORACLE_PROXY', ['shared', 'sandbox']),
    metrics: address(env, 'CORACLE_METRICS'),
    bootTimeoutMs: milliseconds(env, 'CORACLE_BOOT_TIMEOUT_MS', defaultBootTimeoutMs),
  };
}

function folder(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const value = env[name];
  if (value === undefined || value === '') return undefined;
  if (!isAbsolute(value)) throw new CliError(`${name}=${value} is not an absolute path; give one`);
  return resolve(value);
}

function choice<const T extends readonly [string, ...string[]]>(
  env: NodeJS.ProcessEnv,
  name: string,
  words: T,
): T[number] {
  const value = env[name];
  if (value === undefined || value === '') return words[0];
  if (words.includes(value)) return value;
  throw new CliError(`${name}=${value} is not known; give one of ${words.join(', ')}`);
}

function address(env: NodeJS.ProcessEnv, name: string): string {
  const value = env[name];
  if (value === undefined || value === '') return 'off';
  if (/^(?:\S+:)?\d{1,5}$/.test(value)) return value;
  throw new CliError(`${name}=${value} is not [HOST:]PORT`);
}

function milliseconds(env: NodeJS.ProcessEnv, name: string, otherwise: number): number {
  const value = env[name];
  if (value === undefined || value === '') return otherwise;
  const number = Number(value);
  if (Number.isSafeInteger(number) && number > 0) return number;
  throw new CliError(`${name}=${value} is not a number of milliseconds`);
}

function defaultImage(env: NodeJS.ProcessEnv): string {
  const cache =
    env.CORACLE_CACHE ||
    (env.XDG_CACHE_HOME && join(env.XDG_CACHE_HOME, 'coracle')) ||
    (env.HOME ? join(env.HOME, '.cache', 'coracle') : '/var/cache/coracle');
  const candidates = [join(installation(), 'out', 'image'), join(cache, 'images', 'current')];
  return candidates.find((path) => existsSync(join(path, 'manifest.json'))) ?? candidates[0]!;
}

/** unix(7), without the final NUL. */
const maxSocketPathBytes = 107;
/** The longest of the paths of sockets below the run folder. */
const longestSocket = 'sandboxes/0123456789abcdef/fs-containers.sock';

/** @throws CliError when sockets in it would have paths that Linux does not allow */
export function checkRunDirectory(runDirectory: string): void {
  const excess = Buffer.byteLength(join(runDirectory, longestSocket)) - maxSocketPathBytes;
  if (excess <= 0) return;
  throw new CliError(
    `the run folder ${runDirectory} is too deep: paths of unix sockets have at most ${maxSocketPathBytes} bytes; ` +
      `set CORACLE_RUN to a path that is at least ${excess} bytes shorter`,
  );
}

/** Where a pool keeps its VMs (`coracle pool`): on the file system of the sandboxes' folders. */
export const poolFolder = (runDirectory: string): string => join(runDirectory, 'pool');

let found: string | undefined;

/** The folder with bin/ and dist/: the checkout, or wherever `make install` put them. */
export function installation(): string {
  if (found !== undefined) return found;
  for (let path = import.meta.dirname; path !== dirname(path); path = dirname(path)) {
    if (existsSync(join(path, 'bin', 'coracle-proxy')) || existsSync(join(path, 'pnpm-workspace.yaml'))) {
      found = path;
      return path;
    }
  }
  throw new CliError(
    `cannot find Coracle's other programs: no folder above ${import.meta.dirname} has bin/coracle-proxy; run make build`,
  );
}

/** @throws CliError when the program has not been built */
export function program(
  name: 'coracle' | 'coracle-shim' | 'coracle-names' | 'coracle-proxy' | 'coracle-start-proxy',
): string {
  const path = join(installation(), 'bin', name);
  if (!existsSync(path)) throw new CliError(`the program ${path} is not there; run make build`);
  return path;
}

/** The agent as a plain program, for the local driver. */
export const agentEntry = (): string => join(installation(), 'dist', 'agent', 'agent.js');
