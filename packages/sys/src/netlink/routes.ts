/** Routes of the main table (linux/rtnetlink.h). */
import {
  AF_INET,
  AF_INET6,
  addressBytes,
  anyAddress,
  decodeAddress,
  encodeAddress,
  type Family,
  familyOf,
} from './ip.ts';
import { attribute, attributes, Flag, readU32, u32 } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWROUTE = 24;
const RTM_DELROUTE = 25;
const RTM_GETROUTE = 26;
// struct rtmsg { u8 family, dst_len, src_len, tos, table, protocol, scope, type; u32 flags }
const RTMSG_BYTES = 12;
const RT_TABLE_MAIN = 254;
const RTM_F_CLONED = 0x200;
const RTNH_F_ONLINK = 4;
const RTA_DST = 1;
const RTA_OIF = 4;
const RTA_GATEWAY = 5;
const RTA_PRIORITY = 6;
const RTA_PREFSRC = 7;
const RTA_METRICS = 8;
const RTA_TABLE = 15;
const RTA_VIA = 18;
const RTAX_MTU = 2;

/** Who made a route (RTPROT_*). */
export const RouteProtocol = { redirect: 1, kernel: 2, boot: 3, static: 4, routerAdvertisement: 9 } as const;

/** What becomes of a packet (RTN_*). */
export const RouteType = { unicast: 1, blackhole: 6, unreachable: 7, prohibit: 8 } as const;

export interface Route {
  /** The network; `0.0.0.0` or `::` with the length 0 is the default. */
  readonly destination: string;
  readonly prefixLength: number;
  /** Of the interface; 0 where packets go nowhere. */
  readonly index: number;
  /** Of either family. */
  readonly gateway?: string;
  /** The address that packets get which have none yet. */
  readonly source?: string;
  /** Of several routes the one with the lowest is used. */
  readonly priority: number;
  /** RT_SCOPE_*: 0 everywhere, 253 on this link. IPv6 has none. */
  readonly scope: number;
  readonly type: number;
  readonly protocol: number;
  /** The gateway is on this link, whatever the other routes say. */
  readonly onLink: boolean;
  readonly mtu?: number;
}

export function listRoutes(socket: NetlinkSocket): Route[] {
  return socket.dump(RTM_GETROUTE, Buffer.alloc(RTMSG_BYTES), 'RTM_GETROUTE').flatMap(decode);
}

function decode(body: Buffer): Route[] {
  const family = body.readUInt8(0) as Family;
  if (family !== AF_INET && family !== AF_INET6) return [];
  const found = attributes(body, RTMSG_BYTES);
  const flags = body.readUInt32LE(8);
  if ((readU32(found.get(RTA_TABLE)) ?? body.readUInt8(4)) !== RT_TABLE_MAIN) return [];
  if ((flags & RTM_F_CLONED) !== 0) return [];
  const destination = found.get(RTA_DST);
  const gateway = gatewayOf(family, found);
  const source = found.get(RTA_PREFSRC);
  const metrics = found.get(RTA_METRICS);
  const mtu = metrics && readU32(attributes(metrics, 0).get(RTAX_MTU));
  return [
    {
      destination: destination === undefined ? anyAddress(family) : decodeAddress(family, destination),
      prefixLength: body.readUInt8(1),
      index: readU32(found.get(RTA_OIF)) ?? 0,
      ...(gateway === undefined ? {} : { gateway }),
      ...(source === undefined ? {} : { source: decodeAddress(family, source) }),
      priority: readU32(found.get(RTA_PRIORITY)) ?? 0,
      scope: body.readUInt8(6),
      type: body.readUInt8(7),
      protocol: body.readUInt8(5),
      onLink: (flags & RTNH_F_ONLINK) !== 0,
      ...(mtu === undefined || mtu === 0 ? {} : { mtu }),
    },
  ];
}

/** RTA_VIA is struct rtvia { u16 family; u8 address[] }: an IPv4 network behind an IPv6 router. */
function gatewayOf(family: Family, found: ReadonlyMap<number, Buffer>): string | undefined {
  const gateway = found.get(RTA_GATEWAY);
  if (gateway !== undefined) return decodeAddress(family, gateway);
  const via = found.get(RTA_VIA);
  if (via === undefined || via.length < 2) return undefined;
  const other = via.readUInt16LE(0) as Family;
  if (other !== AF_INET && other !== AF_INET6) return undefined;
  return via.length < 2 + addressBytes(other) ? undefined : decodeAddress(other, via.subarray(2));
}

/** Adds a route, or replaces the one to the same network with the same priority. @throws SysError, TypeError */
export function setRoute(socket: NetlinkSocket, route: Route): void {
  send(socket, RTM_NEWROUTE, Flag.create | Flag.replace, route);
}

/** @throws SysError such as ESRCH */
export function removeRoute(socket: NetlinkSocket, route: Route): void {
  send(socket, RTM_DELROUTE, 0, route);
}

function send(socket: NetlinkSocket, type: number, flags: number, route: Route): void {
  const family = familyOf(route.destination);
  const body = Buffer.alloc(RTMSG_BYTES);
  body.writeUInt8(family, 0);
  body.writeUInt8(route.prefixLength, 1);
  body.writeUInt8(RT_TABLE_MAIN, 4);
  body.writeUInt8(route.protocol, 5);
  body.writeUInt8(route.scope, 6);
  body.writeUInt8(route.type, 7);
  body.writeUInt32LE(route.onLink ? RTNH_F_ONLINK : 0, 8);
  const parts = [body, attribute(RTA_DST, encodeAddress(route.destination))];
  if (route.index !== 0) parts.push(attribute(RTA_OIF, u32(route.index)));
  if (route.gateway !== undefined) parts.push(gatewayAttribute(family, route.gateway));
  if (route.source !== undefined) parts.push(attribute(RTA_PREFSRC, encodeAddress(route.source)));
  if (route.priority !== 0) parts.push(attribute(RTA_PRIORITY, u32(route.priority)));
  if (route.mtu !== undefined) parts.push(attribute(RTA_METRICS, [attribute(RTAX_MTU, u32(route.mtu))]));
  const call = type === RTM_NEWROUTE ? 'RTM_NEWROUTE' : 'RTM_DELROUTE';
  const by = route.gateway === undefined ? '' : ` by ${route.gateway}`;
  const subject = `${route.destination}/${route.prefixLength}${by} on interface ${route.index}`;
  socket.change(type, flags, Buffer.concat(parts), call, subject);
}

function gatewayAttribute(family: Family, gateway: string): Buffer {
  const other = familyOf(gateway);
  if (other === family) return attribute(RTA_GATEWAY, encodeAddress(gateway));
  const via = Buffer.alloc(2);
  via.writeUInt16LE(other);
  return attribute(RTA_VIA, [via, encodeAddress(gateway)]);
}
