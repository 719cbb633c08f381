/** Addresses as text and as bytes: inet_pton(3) and inet_ntop(3). */
import { isIP } from 'node:net';
import { libc } from '../libc.ts';

const cPton = libc('int inet_pton(int family, str text, void *bytes)');
const cNtop = libc('str inet_ntop(int family, const void *bytes, void *text, uint32_t size)');

/** linux/socket.h */
export const AF_UNSPEC = 0;
export const AF_INET = 2;
export const AF_INET6 = 10;

export type Family = typeof AF_INET | typeof AF_INET6;

/** @throws TypeError for what is no address */
export function familyOf(address: string): Family {
  const version = isIP(address);
  if (version === 0 || address.includes('%'))
    throw new TypeError(`${JSON.stringify(address)} is no IP address`);
  return version === 4 ? AF_INET : AF_INET6;
}

export const addressBytes = (family: Family): number => (family === AF_INET ? 4 : 16);

/** @throws TypeError for what is no address */
export function encodeAddress(address: string): Buffer {
  const family = familyOf(address);
  const bytes = Buffer.alloc(addressBytes(family));
  if (cPton(family, address, bytes) !== 1) throw new TypeError(`${JSON.stringify(address)} is no IP address`);
  return bytes;
}

export function decodeAddress(family: Family, bytes: Buffer): string {
  return cNtop(family, Buffer.from(bytes), Buffer.alloc(64), 64) as string;
}

/** The address that stands for all of them: of a default route. */
export const anyAddress = (family: Family): string => (family === AF_INET ? '0.0.0.0' : '::');

/** `02:42:ac:11:00:02` @throws TypeError */
export function encodeMac(mac: string): Buffer {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac))
    throw new TypeError(`${JSON.stringify(mac)} is no Ethernet address`);
  return Buffer.from(mac.replaceAll(':', ''), 'hex');
}

export const decodeMac = (bytes: Buffer): string => bytes.toString('hex').replace(/..(?=.)/g, '$&:');
