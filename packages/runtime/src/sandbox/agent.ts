/** The agent of a container's sandbox, and its errors as the command line reports them. */
import type { Sandbox } from '@coracle/client';
import { CliError, ExitCode, messageOf } from '../cli/errors.ts';
import type { ContainerState } from '../container/state.ts';
import { proxyOf, startProxy } from './proxy.ts';

/**
 * Connects to the sandbox of a container through the proxy, which is started when there is none.
 * @throws RpcError unavailable or not_found when the VM is gone
 */
export async function connectSandbox(state: ContainerState, signal?: AbortSignal): Promise<Sandbox> {
  const { Coracle } = await import('@coracle/client');
  const proxy = proxyOf(state);
  const coracle = new Coracle({
    proxy: proxy.socketPath,
    sandboxes: proxy.sandboxes,
    startProxy: () => startProxy(proxy),
  });
  return coracle.connect(state.sandboxId, signal === undefined ? {} : { signal });
}

/**
 * Connects, asks one thing of the container, and hangs up.
 * @throws CliError that says what was tried
 */
export async function askContainer<T>(
  state: ContainerState,
  tried: string,
  ask: (container: ReturnType<Sandbox['container']>) => Promise<T>,
): Promise<T> {
  let sandbox: Sandbox | undefined;
  try {
    sandbox = await connectSandbox(state);
    return await ask(sandbox.container(state.id));
  } catch (error) {
    const lost = isRpcError(error) && error.code === 'unavailable';
    throw new CliError(explain(error, tried), {
      cause: error,
      exitCode: lost ? ExitCode.vmLost : ExitCode.failed,
    });
  } finally {
    sandbox?.close();
  }
}

export interface RpcErrorLike extends Error {
  readonly code: string;
  readonly reason: string;
}

export function isRpcError(error: unknown): error is RpcErrorLike {
  return error instanceof Error && error.name === 'RpcError';
}

/** The agent's words for an error, with what was tried in front. */
export function explain(error: unknown, tried: string): string {
  return `${tried}: ${isRpcError(error) ? error.reason : messageOf(error)}`;
}
