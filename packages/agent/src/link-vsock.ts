/** The link over AF_VSOCK: the agent listens on a port and takes connections of its host, and of nobody else. */
import { close, openStream, VSOCK_CID_ANY, VSOCK_LAST_RESERVED_PORT, VsockListener } from '@coracle/sys';
import type { LinkSlot } from './link-slot.ts';
import { log } from './log.ts';

/**
 * Containers share the guest's AF_VSOCK, and on a host every user may connect to a guest: so the peer has to be the
 * host, and on it somebody who may use a reserved port. A VMM with hybrid vsock has the permissions of its unix socket
 * instead, and comes from any port.
 */
export type TrustedPorts = 'reserved ports' | 'any port';

/** @throws SysError when the port is taken, or the kernel has no AF_VSOCK */
export function listenOnVsock(port: number, peerCid: number, ports: TrustedPorts, slot: LinkSlot): void {
  const listener = new VsockListener({ cid: VSOCK_CID_ANY, port }, (fd, peer) => {
    const trusted = peer.cid === peerCid && (ports === 'any port' || peer.port <= VSOCK_LAST_RESERVED_PORT);
    if (!trusted) {
      log('warn', 'refused a connection', { cid: peer.cid, port: peer.port });
      close(fd);
      return;
    }
    slot.take(openStream(fd, { allowHalfOpen: false }));
  });
  log('info', 'listening', { vsockPort: listener.port });
}
