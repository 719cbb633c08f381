import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync } from 'node:fs';
import { insideCgroups } from './cgroup-entry.ts';
import { identify, ownerVariable, type ProcessIdentity } from './identity.ts';

export interface DetachedSpec {
  readonly file: string;
  readonly args: readonly string[];
  /** stdout and stderr are appended here; stdin is /dev/null. */
  readonly logPath: string;
  /** The VM's folder, put into the environment (see identity.ts). */
  readonly owner: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Handed on as 3, 4 and so on. */
  readonly descriptors?: readonly number[];
  /** Folders of cgroups to start it in. */
  readonly cgroups?: readonly string[] | undefined;
}

export interface Detached {
  readonly identity: ProcessIdentity;
  readonly child: ChildProcess;
}

/**
 * Starts a process that outlives this one: its own session (no terminal, no SIGHUP, no Ctrl-C), stdio
 * on files, the root folder as working directory so that it keeps no mount busy. Node marks every
 * descriptor that it opens or inherited close-on-exec, so the process gets only those that are named.
 * The environment is not handed on: engines put secrets there.
 *
 * @throws the spawn error (`ENOENT`, `EACCES`).
 */
export async function spawnDetached(spec: DetachedSpec): Promise<Detached> {
  const log = openSync(spec.logPath, 'a', 0o600);
  let child: ChildProcess;
  try {
    const [file = '', ...args] = insideCgroups(spec.cgroups ?? [], [spec.file, ...spec.args]);
    child = spawn(file, args, {
      detached: true,
      stdio: ['ignore', log, log, ...(spec.descriptors ?? [])],
      cwd: '/',
      env: { PATH: searchPath, LC_ALL: 'C', ...spec.env, [ownerVariable]: spec.owner },
    });
  } finally {
    closeSync(log);
  }
  await once(child, 'spawn');
  child.unref();
  const identity = identify(child.pid!);
  // Already dead: the exit event tells the rest; no start time ever matches -1.
  return { child, identity: identity ?? { pid: child.pid!, startTicks: -1 } };
}

/** Engines call us with an empty environment; what we start lives in one of these. */
export const searchPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
