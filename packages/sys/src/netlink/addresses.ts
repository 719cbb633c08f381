/** Addresses of interfaces (linux/if_addr.h). */
import { AF_INET, AF_INET6, decodeAddress, encodeAddress, type Family, familyOf } from './ip.ts';
import { attribute, attributes, Flag, readU32, u32 } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWADDR = 20;
const RTM_DELADDR = 21;
const RTM_GETADDR = 22;
// struct ifaddrmsg { u8 family; u8 prefixlen; u8 flags; u8 scope; u32 index }
const IFADDR_BYTES = 8;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const IFA_BROADCAST = 4;
const IFA_FLAGS = 8;
const IFA_F_NODAD = 0x02;
const IFA_F_PERMANENT = 0x80;
const IFA_F_NOPREFIXROUTE = 0x200;

export interface InterfaceAddress {
  /** Of the interface. */
  readonly index: number;
  readonly address: string;
  readonly prefixLength: number;
  /** The other end of a point-to-point connection. */
  readonly peer?: string;
  readonly broadcast?: string;
  /** RT_SCOPE_*: 0 everywhere, 253 on this link, 254 on this host. */
  readonly scope: number;
  /** Not one that the kernel made from what a router told, or that somebody leases. */
  readonly permanent: boolean;
  /** The kernel makes no route to its network. */
  readonly noPrefixRoute: boolean;
}

export function listAddresses(socket: NetlinkSocket): InterfaceAddress[] {
  return socket.dump(RTM_GETADDR, Buffer.alloc(IFADDR_BYTES), 'RTM_GETADDR').flatMap(decode);
}

function decode(body: Buffer): InterfaceAddress[] {
  const family = body.readUInt8(0) as Family;
  if (family !== AF_INET && family !== AF_INET6) return [];
  const found = attributes(body, IFADDR_BYTES);
  const [first, own, broadcast] = [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST].map((type) => {
    const bytes = found.get(type);
    return bytes === undefined ? undefined : decodeAddress(family, bytes);
  });
  // Without IFA_LOCAL, as in IPv6, IFA_ADDRESS is our own; with both, it is the peer's where they differ.
  const address = own ?? first;
  if (address === undefined) return [];
  const flags = readU32(found.get(IFA_FLAGS)) ?? body.readUInt8(2);
  return [
    {
      index: body.readUInt32LE(4),
      address,
      prefixLength: body.readUInt8(1),
      ...(first === undefined || first === address ? {} : { peer: first }),
      ...(broadcast === undefined ? {} : { broadcast }),
      scope: body.readUInt8(3),
      permanent: (flags & IFA_F_PERMANENT) !== 0,
      noPrefixRoute: (flags & IFA_F_NOPREFIXROUTE) !== 0,
    },
  ];
}

export type NewAddress = Omit<InterfaceAddress, 'permanent'>;

/**
 * Gives an interface an address, which can be used at once (an IPv6 address is not looked for elsewhere first).
 * @throws SysError such as EEXIST, ENODEV; TypeError for what is no address
 */
export function addAddress(socket: NetlinkSocket, address: NewAddress): void {
  send(socket, RTM_NEWADDR, Flag.create | Flag.exclusive, address);
}

/** @throws SysError such as EADDRNOTAVAIL */
export function removeAddress(socket: NetlinkSocket, address: NewAddress): void {
  send(socket, RTM_DELADDR, 0, address);
}

function send(socket: NetlinkSocket, type: number, flags: number, address: NewAddress): void {
  const family = familyOf(address.address);
  const body = Buffer.alloc(IFADDR_BYTES);
  body.writeUInt8(family, 0);
  body.writeUInt8(address.prefixLength, 1);
  body.writeUInt8(address.scope, 3);
  body.writeUInt32LE(address.index, 4);
  const parts = [
    body,
    attribute(IFA_LOCAL, encodeAddress(address.address)),
    attribute(IFA_ADDRESS, encodeAddress(address.peer ?? address.address)),
  ];
  if (address.broadcast !== undefined) parts.push(attribute(IFA_BROADCAST, encodeAddress(address.broadcast)));
  const ipv6 = family === AF_INET6 ? IFA_F_NODAD : 0;
  parts.push(attribute(IFA_FLAGS, u32(ipv6 | (address.noPrefixRoute ? IFA_F_NOPREFIXROUTE : 0))));
  const call = type === RTM_NEWADDR ? 'RTM_NEWADDR' : 'RTM_DELADDR';
  const subject = `${address.address}/${address.prefixLength} of interface ${address.index}`;
  socket.change(type, flags, Buffer.concat(parts), call, subject);
}
