/**
 * Joining an interface of a namespace with a tap, which QEMU holds the other end of:
 *
 *     eth0 ingress ──redirect──► tap ──► QEMU ──► guest
 *     eth0 egress ◄──redirect── tap ingress ◄──── guest
 *
 * The namespace's own kernel sees no frame of either direction, so it answers none, though it has the addresses still.
 */
import { close, openTap, rtnetlink } from '@coracle/sys';
import { tapName } from './read-network.ts';

/**
 * Makes the tap; in the interface's namespace. It lasts as long as the descriptor, or a copy of it.
 * @throws SysError such as EBUSY when there is one: another VM has the interface
 */
export function joinTap({ index, mtu }: rtnetlink.Link): number {
  const fd = openTap(tapName(index));
  try {
    using socket = new rtnetlink.NetlinkSocket();
    const tap = rtnetlink.listLinks(socket).find(({ name }) => name === tapName(index))!;
    // It would speak to the guest in its own name otherwise.
    rtnetlink.changeLink(socket, tap.index, { withoutIpv6Address: true });
    rtnetlink.changeLink(socket, tap.index, { mtu, up: true });
    rtnetlink.redirectIngress(socket, tap.index, index);
    rtnetlink.redirectIngress(socket, index, tap.index);
    return fd;
  } catch (error) {
    close(fd);
    throw error;
  }
}

/** Gives the namespace its interface back; in the namespace. The interface may be gone. */
export function partTap(index: number): void {
  using socket = new rtnetlink.NetlinkSocket();
  rtnetlink.stopRedirect(socket, index);
}

/** In the namespace. */
export function resizeTap(tap: rtnetlink.Link, mtu: number): void {
  using socket = new rtnetlink.NetlinkSocket();
  rtnetlink.changeLink(socket, tap.index, { mtu });
}
