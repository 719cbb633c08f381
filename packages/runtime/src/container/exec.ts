/** Another process in a running container. */
import { randomUUID } from 'node:crypto';
import { cgroupFolders, cgroupOf } from '../cgroup/cgroup.ts';
import { CliError } from '../cli/errors.ts';
import { connectSandbox } from '../sandbox/agent.ts';
import { proxyOf } from '../sandbox/proxy.ts';
import type { ProcessSpec } from '../spec/spec.ts';
import type { ConsolePlan } from './console.ts';
import { type Shim, startShim, wantsStdin } from './shim.ts';
import { startError } from './start-error.ts';
import type { ContainerState, StateStore } from './state.ts';
import { statusOf } from './status.ts';

/** runc's code for an exec that failed before the process was there. */
export const execFailed = 255;
const killTimeoutMs = 5000;

/** @throws CliError */
export function checkExecable(state: ContainerState): void {
  const status = statusOf(state);
  if (status === 'running' || status === 'created') return;
  const remedy = status === 'paused' ? `; resume it with coracle resume ${state.id}` : '';
  throw new CliError(`cannot exec in a ${status} container: ${state.id}${remedy}`, { exitCode: execFailed });
}

/** @throws CliError, or the signal's reason; nothing is left behind then */
export async function execInContainer(
  store: StateStore,
  state: ContainerState,
  process: ProcessSpec,
  console: ConsolePlan,
  signal: AbortSignal,
): Promise<Shim> {
  const { id, sandboxId } = state;
  const fail = (tried: string) => (error: unknown) => {
    signal.throwIfAborted();
    throw startError(error, tried, { process, otherwise: execFailed });
  };
  const sandbox = await connectSandbox(state, signal).catch(fail(`cannot reach the VM of container ${id}`));
  const stdin = wantsStdin(console);
  const execId = randomUUID();
  try {
    // The process is complete: exec takes all of it from the "container's own", and adds nothing.
    const container = sandbox.container(id, { process: { ...process } });
    const terminal = console.kind === 'pipes' ? false : (console.size ?? true);
    const options = { id: execId, args: process.args ?? [], terminal, stdin, attach: false, signal };
    const made = await container.exec(options).catch(fail('exec failed'));
    const plan = {
      proxy: proxyOf(state),
      sandboxId,
      process: made.handle,
      name: `exec in ${id}`,
      console,
      stdin,
      command: process.args ?? [],
      cgroups: cgroupFolders(cgroupOf(state.sandboxDirectory)),
      container: store.directory(id),
    };
    return await startShim(plan, signal).catch(async (error: unknown) => {
      // Nobody would ever read its output or wait for it.
      const abort = AbortSignal.timeout(killTimeoutMs);
      await container.signal('SIGKILL', { execId, signal: abort }).catch(() => undefined);
      throw error;
    });
  } finally {
    sandbox.close();
  }
}
