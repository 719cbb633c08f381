/** The parts of the OCI runtime specification's config.json that the library itself looks at. */
import { RpcError } from '@coracle/wire';
import type { WindowSize } from './process.ts';

/** https://github.com/opencontainers/runtime-spec/blob/main/config.md#process; unknown fields are passed on. */
export interface OciProcess {
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  readonly cwd?: string;
  readonly user?: OciUser;
  readonly terminal?: boolean;
  readonly [field: string]: unknown;
}

export interface OciUser {
  readonly uid: number;
  readonly gid: number;
  readonly umask?: number;
  readonly additionalGids?: readonly number[];
}

export interface OciConfig {
  readonly process?: OciProcess;
  readonly hostname?: string;
  readonly [field: string]: unknown;
}

export interface ExecSpec {
  /** The command and its arguments. */
  readonly args: readonly string[];
  /** Added to the container's own: `NAME=value`, or an object. */
  readonly env?: readonly string[] | Readonly<Record<string, string>> | undefined;
  /** Absolute; the container's by default. */
  readonly cwd?: string | undefined;
  /** The container's by default. */
  readonly user?: OciUser | undefined;
  readonly terminal?: WindowSize | boolean | undefined;
}

/** As runc and Docker give a process that has nothing else to go by. */
const DEFAULT_ENV = ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'];
const fallback: OciProcess = { env: DEFAULT_ENV, cwd: '/', user: { uid: 0, gid: 0 } };

/**
 * The process object for an exec: as `runc exec` does, the container's own process (capabilities, limits,
 * user, environment) with another command.
 * @throws RpcError invalid_argument
 */
export function execProcess(base: OciProcess | undefined, spec: ExecSpec): OciProcess {
  if (!Array.isArray(spec.args) || spec.args.length === 0) {
    throw new RpcError('invalid_argument', 'exec needs args: a command and its arguments');
  }
  const { consoleSize: _, ...own } = base ?? fallback;
  const env = Array.isArray(spec.env)
    ? (spec.env as readonly string[])
    : Object.entries(spec.env ?? {}).map(([name, value]) => `${name}=${value}`);
  const size = typeof spec.terminal === 'object' ? spec.terminal : undefined;
  return {
    ...own,
    args: spec.args,
    cwd: spec.cwd ?? own.cwd ?? '/',
    env: mergeEnv(own.env ?? DEFAULT_ENV, env),
    user: spec.user ?? own.user ?? { uid: 0, gid: 0 },
    terminal: spec.terminal !== undefined && spec.terminal !== false,
    ...(size === undefined ? {} : { consoleSize: { width: size.columns, height: size.rows } }),
  };
}

/** Later ones win; the order of the first mention stays. */
function mergeEnv(base: readonly string[], extra: readonly string[]): string[] {
  const byName = new Map<string, string>();
  for (const entry of [...base, ...extra]) byName.set(entry.split('=', 1)[0] ?? entry, entry);
  return [...byName.values()];
}
