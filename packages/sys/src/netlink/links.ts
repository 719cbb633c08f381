/** Network interfaces, which rtnetlink calls links (linux/if_link.h). */
import { decodeMac, encodeMac } from './ip.ts';
import { attribute, attributes, readText, readU32, text, u32 } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
// struct ifinfomsg { u8 family; u8 pad; u16 type; s32 index; u32 flags; u32 change }
const IFINFO_BYTES = 16;
const IFLA_ADDRESS = 1;
const IFLA_IFNAME = 3;
const IFLA_MTU = 4;
const IFLA_MASTER = 10;
const IFLA_LINKINFO = 18;
const IFLA_INFO_KIND = 1;
const IFLA_AF_SPEC = 26;
const AF_INET6 = 10;
const IFLA_INET6_ADDR_GEN_MODE = 8;
const IN6_ADDR_GEN_MODE_NONE = 1;
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const ARPHRD_ETHER = 1;

export interface Link {
  readonly index: number;
  readonly name: string;
  /** `02:42:ac:11:00:02`; empty when it has none of six bytes. */
  readonly mac: string;
  readonly mtu: number;
  readonly up: boolean;
  readonly loopback: boolean;
  /** It carries Ethernet frames: tunnels of IP packets do not. */
  readonly ethernet: boolean;
  /** `veth`, `tun`, `macvlan`…; undefined for hardware. */
  readonly kind: string | undefined;
  /** Index of the bridge or bond that it is a part of. */
  readonly master: number | undefined;
}

export function listLinks(socket: NetlinkSocket): Link[] {
  return socket.dump(RTM_GETLINK, Buffer.alloc(IFINFO_BYTES), 'RTM_GETLINK').map(decodeLink);
}

function decodeLink(body: Buffer): Link {
  const found = attributes(body, IFINFO_BYTES);
  const flags = body.readUInt32LE(8);
  const address = found.get(IFLA_ADDRESS);
  const info = found.get(IFLA_LINKINFO);
  return {
    index: body.readInt32LE(4),
    name: readText(found.get(IFLA_IFNAME)) ?? '',
    mac: address?.length === 6 ? decodeMac(address) : '',
    mtu: readU32(found.get(IFLA_MTU)) ?? 0,
    up: (flags & IFF_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    ethernet: body.readUInt16LE(2) === ARPHRD_ETHER,
    kind: info === undefined ? undefined : readText(attributes(info, 0).get(IFLA_INFO_KIND)),
    master: readU32(found.get(IFLA_MASTER)),
  };
}

export interface LinkChange {
  readonly name?: string;
  readonly mac?: string;
  readonly mtu?: number;
  readonly up?: boolean;
  /** The kernel gives it no IPv6 address by itself. Only before it is up. */
  readonly withoutIpv6Address?: boolean;
}

/**
 * What `ip link set` does. A name can be changed only while the interface is down (before Linux 6.2).
 * @throws SysError such as ENODEV, EBUSY, EINVAL for an MTU; TypeError for a MAC
 */
export function changeLink(socket: NetlinkSocket, index: number, change: LinkChange): void {
  const body = Buffer.alloc(IFINFO_BYTES);
  body.writeInt32LE(index, 4);
  if (change.up !== undefined) {
    body.writeUInt32LE(change.up ? IFF_UP : 0, 8);
    body.writeUInt32LE(IFF_UP, 12);
  }
  const parts: Buffer[] = [body];
  if (change.name !== undefined) parts.push(attribute(IFLA_IFNAME, text(change.name)));
  if (change.mac !== undefined) parts.push(attribute(IFLA_ADDRESS, encodeMac(change.mac)));
  if (change.mtu !== undefined) parts.push(attribute(IFLA_MTU, u32(change.mtu)));
  if (change.withoutIpv6Address) {
    const mode = attribute(IFLA_INET6_ADDR_GEN_MODE, Buffer.from([IN6_ADDR_GEN_MODE_NONE]));
    parts.push(attribute(IFLA_AF_SPEC, [attribute(AF_INET6, [mode])]));
  }
  const what = Object.entries(change).map(([name, value]) => `${name} ${value}`);
  socket.change(
    RTM_NEWLINK,
    0,
    Buffer.concat(parts),
    'RTM_NEWLINK',
    `interface ${index} (${what.join(', ')})`,
  );
}
