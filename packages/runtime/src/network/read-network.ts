/** What a network namespace has that its VM is to have: read in one go, while the thread is in the namespace. */
import { readFileSync } from 'node:fs';
import type { SandboxNetwork } from '@coracle/client';
import { rtnetlink } from '@coracle/sys';
import { hasNameServer } from './names.ts';

export interface NamespaceNetwork {
  /** What the guest is told. */
  readonly network: SandboxNetwork;
  /** In the same order as `network.interfaces`. */
  readonly links: readonly rtnetlink.Link[];
  /** Ours, by the index of the interface that each belongs to. */
  readonly taps: ReadonlyMap<number, rtnetlink.Link>;
  /** Docker's name server listens here. */
  readonly nameServer: boolean;
}

/** The tap that carries an interface's frames: interfaces are renamed, their indexes stay. */
export const tapName = (index: number): string => `crtap${index}`;
const TAP_NAME = /^crtap(\d+)$/;

const RT_SCOPE_LINK = 253;
const copiedTypes: readonly number[] = Object.values(rtnetlink.RouteType);
const { kernel, redirect, routerAdvertisement } = rtnetlink.RouteProtocol;
/** The guest's kernel makes them as the host's has. */
const madeByKernels: readonly number[] = [kernel, redirect, routerAdvertisement];

/** Whether a VM has the calling thread's namespace. @throws SysError */
export function hasTaps(): boolean {
  using socket = new rtnetlink.NetlinkSocket();
  return rtnetlink.listLinks(socket).some(({ name }) => TAP_NAME.test(name));
}

/** Of the calling thread's namespace. @throws SysError */
export function readNetwork(): NamespaceNetwork {
  using socket = new rtnetlink.NetlinkSocket();
  const all = rtnetlink.listLinks(socket);
  const taps = new Map(
    all.flatMap((link) => {
      const index = TAP_NAME.exec(link.name)?.[1];
      return index === undefined ? [] : [[Number(index), link]];
    }),
  );
  const links = all.filter((link) => isTakenOver(link, taps));
  const nameOf = new Map(links.map(({ index, name }) => [index, name]));
  const addresses = rtnetlink.listAddresses(socket).filter(isCopiedAddress);
  return {
    links,
    taps,
    nameServer: hasNameServer(),
    network: {
      interfaces: links.map(({ index, mac, name, mtu, up }) => ({
        mac,
        name,
        mtu,
        up,
        disableIpv6: hasNoIpv6(name),
        addresses: addresses
          .filter((one) => one.index === index)
          .map(({ address, prefixLength, peer = '', broadcast = '', scope, noPrefixRoute }) => ({
            address,
            prefixLength,
            peer,
            broadcast,
            scope,
            noPrefixRoute,
          })),
      })),
      routes: rtnetlink.listRoutes(socket).flatMap((route) => {
        const { index, gateway = '', source = '', mtu = 0, ...rest } = route;
        const name = nameOf.get(index);
        if ((index !== 0 && name === undefined) || !isCopiedRoute(route)) return [];
        return [{ ...rest, interface: name ?? '', gateway, source, mtu }];
      }),
      neighbours: rtnetlink.listNeighbours(socket).flatMap(({ index, address, mac }) => {
        const name = nameOf.get(index);
        return name === undefined ? [] : [{ interface: name, address, mac }];
      }),
    },
  };
}

/**
 * Interfaces that carry Ethernet: not loopback, not the tunnels that a kernel puts into each new namespace (they are down and have
 * no address), not parts of a bridge in the namespace. One that is being set up is waited for until it is up; from then on it
 * is the VM's until it goes away.
 */
function isTakenOver(link: rtnetlink.Link, taps: ReadonlyMap<number, rtnetlink.Link>): boolean {
  const { index, name, mac, up, loopback, ethernet, master } = link;
  if (loopback || !ethernet || master !== undefined || TAP_NAME.test(name)) return false;
  if (mac === '' || mac === '00:00:00:00:00:00') return false;
  return up || taps.has(index);
}

/** Those of a link the guest's kernel makes by itself, from the MAC; leased ones it gets as the host's kernel got them. */
function isCopiedAddress({ address, scope, permanent }: rtnetlink.InterfaceAddress): boolean {
  return permanent && !(scope === RT_SCOPE_LINK && address.includes(':'));
}

function isCopiedRoute({ type, protocol }: rtnetlink.Route): boolean {
  return copiedTypes.includes(type) && !madeByKernels.includes(protocol);
}

function hasNoIpv6(name: string): boolean {
  try {
    return readFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, 'latin1').trim() === '1';
  } catch {
    return true;
  }
}
