/** AbortSignal helpers: aborting always ends in an RpcError. */
import { asRpcError } from '@coracle/wire';

/** What calls accept that may be given up. */
export interface Abortable {
  /** Aborting rejects the call with RpcError `cancelled`. */
  readonly signal?: AbortSignal | undefined;
}

/** @throws RpcError cancelled when the signal has aborted */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw asRpcError(signal.reason, 'cancelled');
}

/** @throws RpcError cancelled when aborted meanwhile */
export async function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, ms);
  try {
    await orAbort(promise, signal);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Waits for `work` until the signal aborts. The work itself goes on: what it still makes is handed to
 * `undo`, so that giving up leaves nothing behind.
 *
 * @throws RpcError cancelled
 */
export async function orAbort<T>(
  work: Promise<T>,
  signal: AbortSignal | undefined,
  undo?: (made: T) => Promise<unknown>,
): Promise<T> {
  if (signal === undefined) return work;
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => {
    reject(asRpcError(signal.reason, 'cancelled'));
    // Nobody is left to hear how this goes.
    work.then((made) => undo?.(made)).catch(() => undefined);
  };
  if (signal.aborted) onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
    promise.catch(() => undefined);
  }
}
