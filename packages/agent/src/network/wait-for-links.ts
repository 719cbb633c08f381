/** Waiting for network interfaces that the host has just plugged in. */
import { writeFileSync } from 'node:fs';
import { rtnetlink, Watch } from '@coracle/sys';
import { RpcError } from '@coracle/wire';

/** Emulated on a busy host, a device takes a second. */
const TIMEOUT_MS = 30_000;
/** The kernel is told of new devices by an interrupt. Should that be lost, it looks for itself after this. */
const RESCAN_MS = 1_000;

export type LinksByMac = ReadonlyMap<string, rtnetlink.Link>;

/** @throws RpcError deadline_exceeded naming those that did not come */
export async function waitForLinks(
  socket: rtnetlink.NetlinkSocket,
  macs: readonly string[],
): Promise<LinksByMac> {
  // Before the first look, so that what comes in between is heard.
  using events = new rtnetlink.NetlinkSocket(rtnetlink.Group.links);
  let links = byMac(socket);
  const missing = () => macs.filter((mac) => !links.has(mac));
  if (missing().length === 0) return links;
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  using _watch = new Watch(events.fd, { readable: true }, () => {
    try {
      events.drain();
      links = byMac(socket);
      if (missing().length === 0) resolve();
    } catch (error) {
      reject(error);
    }
  });
  const rescan = setTimeout(lookForDevices, RESCAN_MS);
  const late = setTimeout(() => {
    const there = [...links.values()].map(({ name, mac }) => `${name} ${mac}`).join(', ') || 'none';
    const what = `no network interface ${missing().join(', ')} came within ${TIMEOUT_MS / 1000} s; there are: ${there}`;
    reject(new RpcError('deadline_exceeded', what));
  }, TIMEOUT_MS);
  try {
    await promise;
    return links;
  } finally {
    clearTimeout(rescan);
    clearTimeout(late);
  }
}

function byMac(socket: rtnetlink.NetlinkSocket): LinksByMac {
  const links = rtnetlink.listLinks(socket).filter(({ mac, loopback }) => mac !== '' && !loopback);
  return new Map(links.map((link) => [link.mac, link]));
}

export function lookForDevices(): void {
  writeFileSync('/sys/bus/pci/rescan', '1');
}
