/** The link of the local tier: whatever the host side dials, the agent answers there (docs/protocol.md, "Transports"). */
import { once } from 'node:events';
import { renameSync, rmSync } from 'node:fs';
import net, { createServer, type Socket } from 'node:net';
import { hybridListenPath, type LinkAddress, VSOCK_CID_LOCAL } from '@coracle/sys';
import { keepDialled } from './link-dial.ts';
import { answerConnect } from './link-hybrid.ts';
import type { LinkSlot } from './link-slot.ts';
import { listenOnVsock } from './link-vsock.ts';

/** @throws when the address can't be bound */
export async function listenLocal(address: LinkAddress, slot: LinkSlot): Promise<void> {
  switch (address.kind) {
    case 'unix':
      return await listenAt(address.path, (socket) => slot.take(socket));
    case 'hybrid':
      return await listenAt(address.path, (socket) => answerConnect(socket, address.port, slot));
    case 'hybrid-listen':
      // As a VMM: its own socket is there while it lives, and nobody in its guest listens on any port.
      await listenAt(address.path, (socket) => answerConnect(socket, undefined, slot));
      keepDialled(() => connectAt(hybridListenPath(address)), slot);
      return;
    case 'vsock':
      listenOnVsock(address.port, VSOCK_CID_LOCAL, 'reserved ports', slot);
  }
}

/** What `listenLocal` leaves in the file system. */
export function removeLocal(address: LinkAddress): void {
  if (address.kind !== 'vsock') rmSync(address.path, { force: true });
}

async function listenAt(path: string, onConnection: (socket: Socket) => void): Promise<void> {
  const server = createServer({ allowHalfOpen: false }, onConnection);
  // Bound under another name: a socket that can be seen takes connections. Either may be left behind by an
  // agent that was killed.
  const unready = `${path}.new`;
  rmSync(unready, { force: true });
  server.listen(unready);
  await once(server, 'listening');
  renameSync(unready, path);
}

async function connectAt(path: string): Promise<Socket> {
  const socket = net.connect(path);
  await once(socket, 'connect');
  return socket;
}
