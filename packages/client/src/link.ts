/** One connection to the proxy: connect, greet, bind (docs/protocol.md, sections 1 and 7). */
import { connect } from 'node:net';
import type { Duplex } from 'node:stream';
import {
  asRpcError,
  type ClosedBy,
  Connection,
  type Frame,
  FrameType,
  frameTypeName,
  Role,
  RpcError,
  violation,
} from '@coracle/wire';
import { throwIfAborted } from './abort.ts';
import type { ClientCapture } from './capture.ts';

/** Where the proxy is. */
export interface ProxyPlace {
  readonly socketPath: string;
  /** Makes a transport to the proxy; a connection to `socketPath` unless given. */
  readonly connect?: (() => Duplex) | undefined;
  readonly capture?: ClientCapture | undefined;
}

export interface LinkEvents {
  frame(frame: Frame): void;
  /** A bound connection has ended. */
  lost(end: LinkEnd): void;
}

/** Why a connection, or the attempt to make one, ended. */
export interface LinkEnd {
  readonly error: RpcError;
  /** `none`: nobody listens on the proxy's socket. */
  readonly by: ClosedBy | 'none';
}

export type LinkAttempt = { readonly connection: Connection } | LinkEnd;

/**
 * Tries once. A VM that still boots makes it take longer.
 * @throws RpcError cancelled
 */
export async function openLink(
  place: ProxyPlace,
  sandboxId: string,
  events: LinkEvents,
  signal: AbortSignal | undefined,
): Promise<LinkAttempt> {
  throwIfAborted(signal);
  const { promise, resolve, reject } = Promise.withResolvers<LinkAttempt>();
  const { socketPath } = place;
  const socket = place.connect?.() ?? connect(socketPath);
  let nobodyListens = false;
  // First in line, so that it is known when the connection hears of the same error.
  socket.once('error', (error: NodeJS.ErrnoException) => {
    nobodyListens = error.code === 'ENOENT' || error.code === 'ECONNREFUSED';
  });
  let bound = false;
  const connection = new Connection(
    socket,
    { role: Role.client, opener: true },
    {
      open: () => connection.send({ type: FrameType.BIND, payload: Buffer.from(sandboxId, 'latin1') }),
      frame: (frame) => {
        if (bound) events.frame(frame);
        else if (frame.type === FrameType.BOUND) {
          bound = true;
          captured?.bound();
          resolve({ connection });
        } else throw violation(`${frameTypeName(frame.type)} before BOUND`);
      },
      closed: (error, by) => {
        captured?.closed(error);
        if (bound) events.lost({ error, by });
        else if (!nobodyListens) resolve({ error: explain(error, socketPath), by });
        else {
          const why = `no proxy listens on ${socketPath}; start coracle-proxy, or give startProxy`;
          resolve({ error: new RpcError('unavailable', why, { cause: error }), by: 'none' });
        }
      },
    },
  );
  const captured = place.capture?.connection(sandboxId, connection);
  const onAbort = (): void => {
    const error = asRpcError(signal?.reason, 'cancelled');
    connection.close(error);
    reject(error);
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  try {
    return await promise;
  } finally {
    signal?.removeEventListener('abort', onAbort);
  }
}

/** A socket that may not be used is no fault that passes by itself. */
function explain(error: RpcError, socketPath: string): RpcError {
  const code = (error.cause as NodeJS.ErrnoException | undefined)?.code;
  if (code !== 'EACCES' && code !== 'EPERM') return error;
  return new RpcError('permission_denied', `may not connect to the proxy on ${socketPath}: ${code}`, {
    cause: error,
  });
}
