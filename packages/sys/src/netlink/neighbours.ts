/** Neighbours that somebody has written down, so that nobody asks for them (linux/neighbour.h). */
import {
  AF_INET,
  AF_INET6,
  decodeAddress,
  decodeMac,
  encodeAddress,
  encodeMac,
  type Family,
  familyOf,
} from './ip.ts';
import { attribute, attributes, Flag } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWNEIGH = 28;
const RTM_DELNEIGH = 29;
const RTM_GETNEIGH = 30;
// struct ndmsg { u8 family; u8 pad; u16 pad; s32 ifindex; u16 state; u8 flags; u8 type }
const NDMSG_BYTES = 12;
const NDA_DST = 1;
const NDA_LLADDR = 2;
const NUD_PERMANENT = 0x80;

export interface Neighbour {
  /** Of the interface. */
  readonly index: number;
  readonly address: string;
  readonly mac: string;
}

/** The permanent ones. */
export function listNeighbours(socket: NetlinkSocket): Neighbour[] {
  return socket.dump(RTM_GETNEIGH, Buffer.alloc(NDMSG_BYTES), 'RTM_GETNEIGH').flatMap((body) => {
    const family = body.readUInt8(0) as Family;
    if (family !== AF_INET && family !== AF_INET6) return [];
    if ((body.readUInt16LE(8) & NUD_PERMANENT) === 0) return [];
    const found = attributes(body, NDMSG_BYTES);
    const [address, mac] = [found.get(NDA_DST), found.get(NDA_LLADDR)];
    if (address === undefined || mac?.length !== 6) return [];
    return [{ index: body.readInt32LE(4), address: decodeAddress(family, address), mac: decodeMac(mac) }];
  });
}

/** Adds one, or replaces what is known of that address. @throws SysError, TypeError */
export function setNeighbour(socket: NetlinkSocket, neighbour: Neighbour): void {
  send(socket, RTM_NEWNEIGH, Flag.create | Flag.replace, neighbour);
}

/** @throws SysError such as ENOENT */
export function removeNeighbour(socket: NetlinkSocket, neighbour: Neighbour): void {
  send(socket, RTM_DELNEIGH, 0, neighbour);
}

function send(socket: NetlinkSocket, type: number, flags: number, { index, address, mac }: Neighbour): void {
  const body = Buffer.alloc(NDMSG_BYTES);
  body.writeUInt8(familyOf(address), 0);
  body.writeInt32LE(index, 4);
  body.writeUInt16LE(NUD_PERMANENT, 8);
  const parts = [body, attribute(NDA_DST, encodeAddress(address)), attribute(NDA_LLADDR, encodeMac(mac))];
  const call = type === RTM_NEWNEIGH ? 'RTM_NEWNEIGH' : 'RTM_DELNEIGH';
  socket.change(type, flags, Buffer.concat(parts), call, `${address} of interface ${index}`);
}
