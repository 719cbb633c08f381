/** The link of the local tier: a unix socket with one connection at a time; a new one replaces the old one. */

import { once } from 'node:events';
import { renameSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { type Connection, RpcError } from '@coracle/wire';
import type { SessionHost } from './session.ts';

/** @throws when the socket can't be bound */
export async function listenLocal(path: string, sessions: SessionHost): Promise<Server> {
  let current: Connection | undefined;
  const server = createServer({ allowHalfOpen: false }, (socket) => {
    current?.close(new RpcError('aborted', 'another connection has taken the link over'));
    const connection = sessions.begin(socket, {
      manualReceive: false,
      opened: () => {},
      closed: () => {
        if (current === connection) current = undefined;
      },
    });
    current = connection;
  });
  // Bound under another name: a socket that can be seen takes connections. Either may be left behind by an
  // agent that was killed.
  const unready = `${path}.new`;
  rmSync(unready, { force: true });
  server.listen(unready);
  await once(server, 'listening');
  renameSync(unready, path);
  return server;
}
