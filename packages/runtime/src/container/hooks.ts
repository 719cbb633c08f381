/**
 * Hooks: programs of the engine that are run at set points of a container's life (config.md, "POSIX-platform Hooks"; runtime.md,
 * "Lifecycle"). Each gets the container's state as JSON on its stdin. Those of this file run on the host, in our own namespaces;
 * startContainer is the guest's (packages/agent, guest-config.ts).
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, readFileSync } from 'node:fs';
import { createMemoryFile } from '@coracle/sys';
import { CliError, messageOf } from '../cli/errors.ts';
import type { Log } from '../cli/log.ts';
import type { HookSpec, Hooks } from '../spec/spec.ts';
import type { ContainerState } from './state.ts';
import type { Status } from './status.ts';

export type HostHook = 'prestart' | 'createRuntime' | 'poststart' | 'poststop';

/** What a hook says is shown to people: the beginning will do. */
const SHOWN_BYTES = 4096;

/** @throws CliError for hooks that cannot be run for a container in a VM */
export function checkHooks(hooks: Hooks | null | undefined): void {
  const [first] = hooks?.createContainer ?? [];
  if (first === undefined) return;
  throw new CliError(
    `the createContainer hook ${first.path} would have to run in the container's mount namespace with the host's programs, ` +
      'and that namespace is inside a virtual machine; use a createRuntime hook (on the host) or startContainer (in the guest)',
  );
}

/**
 * Runs the hooks of one kind in their order.
 * @throws CliError with the first that fails and what it said; the signal's reason
 */
export async function runHooks(
  kind: HostHook,
  hooks: Hooks | null | undefined,
  state: ContainerState,
  status: Status,
  signal?: AbortSignal,
): Promise<void> {
  for (const run of runners(kind, hooks, state, status)) await run(signal);
}

/** Runs all of them; those that fail are told, and that is all (runtime.md: "the runtime MUST log a warning"). */
export async function runHooksAnyway(
  kind: 'poststart' | 'poststop',
  hooks: Hooks | null | undefined,
  state: ContainerState,
  status: Status,
  log: Log,
): Promise<void> {
  for (const run of runners(kind, hooks, state, status)) {
    try {
      await run();
    } catch (error) {
      log.warning(messageOf(error));
    }
  }
}

function runners(
  kind: HostHook,
  hooks: Hooks | null | undefined,
  state: ContainerState,
  status: Status,
): ((signal?: AbortSignal) => Promise<void>)[] {
  return (hooks?.[kind] ?? []).map(
    (hook, number) => (signal) =>
      runHook(`${kind} hook #${number} (${hook.path})`, hook, hookState(state, status), signal),
  );
}

/** runtime.md, "State". */
function hookState({ ociVersion, id, bundle, annotations, shim }: ContainerState, status: Status): string {
  const pid = status === 'stopped' ? {} : { pid: shim?.pid ?? 0 };
  return JSON.stringify({ ociVersion, id, status, ...pid, bundle, annotations });
}

async function runHook(
  name: string,
  { path, args, env, timeout: limit }: HookSpec,
  state: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const timeout = limit ?? undefined;
  // Not pipes: a daemon that a hook leaves behind would hold them open, and us up.
  const output = createMemoryFile('coracle-hook');
  try {
    const child = spawn(path, args?.slice(1) ?? [], {
      argv0: args?.[0] ?? path,
      // As runc: without a list it gets what we have.
      env: env ? Object.fromEntries(env.map(splitVariable)) : process.env,
      stdio: ['pipe', output, output],
      ...(signal === undefined ? {} : { signal, killSignal: 'SIGKILL' }),
      ...(timeout === undefined ? {} : { timeout: timeout * 1000, killSignal: 'SIGKILL' }),
    });
    const began = performance.now();
    // It need not read it.
    child.stdin!.on('error', () => {});
    child.stdin!.end(state);
    const problem = await endOf(child);
    signal?.throwIfAborted();
    if (problem === undefined) return;
    const late = timeout !== undefined && performance.now() - began >= timeout * 1000;
    const said = readFileSync(`/proc/self/fd/${output}`).subarray(0, SHOWN_BYTES).toString('utf8').trim();
    const what = late ? `did not end within ${timeout} s` : problem;
    throw new CliError(`error running ${name}: ${what}${said === '' ? '' : `: ${said}`}`);
  } finally {
    closeSync(output);
  }
}

/** What is wrong with how it ended. */
async function endOf(child: ChildProcess): Promise<string | undefined> {
  try {
    const [code, killedBy] = await once(child, 'exit');
    if (code === 0) return undefined;
    return killedBy === null ? `exit status ${code}` : `killed by ${killedBy}`;
  } catch (error) {
    return messageOf(error);
  }
}

function splitVariable(variable: string): [string, string] {
  const at = variable.indexOf('=');
  return at === -1 ? [variable, ''] : [variable.slice(0, at), variable.slice(at + 1)];
}
