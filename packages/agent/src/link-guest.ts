/** The link of a guest, as the kernel's command line says it: `coracle.link=…` (docs/protocol.md, "Transports"). */
import { connectVsock, openStream, VSOCK_CID_HOST } from '@coracle/sys';
import { keepDialled } from './link-dial.ts';
import { PortLink } from './link-port.ts';
import { LinkSlot } from './link-slot.ts';
import { listenOnVsock } from './link-vsock.ts';
import type { SessionHost } from './session.ts';

export type GuestLink =
  | { readonly kind: 'virtio-serial' }
  /** The host has AF_VSOCK: it connects to our port, from a reserved port of its own. */
  | { readonly kind: 'vsock'; readonly port: number }
  /** The VMM has hybrid vsock, and the proxy connects to our port. */
  | { readonly kind: 'hybrid'; readonly port: number }
  /** The VMM has hybrid vsock, and we connect to the proxy's port. */
  | { readonly kind: 'hybrid-listen'; readonly port: number };

/** @throws Error that names the word */
export function parseGuestLink(word: string | undefined): GuestLink {
  if (word === undefined || word === 'virtio-serial') return { kind: 'virtio-serial' };
  const [, kind, digits] = /^(vsock|hybrid|hybrid-listen):(\d{1,10})$/.exec(word) ?? [];
  const port = Number(digits);
  if (kind === undefined || port >= 0xffff_ffff) {
    throw new Error(
      `coracle.link=${word} on the kernel's command line is no link: virtio-serial, vsock:PORT, hybrid:PORT or hybrid-listen:PORT`,
    );
  }
  return { kind: kind as 'vsock' | 'hybrid' | 'hybrid-listen', port };
}

/** Ends the connection and opens the transport again: what is queued in it is lost, and nothing else. */
export interface Reopenable {
  reopen(): void;
}

/** @param opened called whenever a host has greeted. @throws Error when the VM has no such device */
export function openLink(link: GuestLink, sessions: SessionHost, opened: () => void): Reopenable {
  if (link.kind === 'virtio-serial') return new PortLink(sessions, opened);
  const slot = new LinkSlot(sessions, opened);
  switch (link.kind) {
    case 'vsock':
      listenOnVsock(link.port, VSOCK_CID_HOST, 'reserved ports', slot);
      break;
    case 'hybrid':
      listenOnVsock(link.port, VSOCK_CID_HOST, 'any port', slot);
      break;
    case 'hybrid-listen':
      keepDialled(
        async () =>
          openStream(await connectVsock({ cid: VSOCK_CID_HOST, port: link.port }), { allowHalfOpen: false }),
        slot,
      );
  }
  return slot;
}
