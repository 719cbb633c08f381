/** What an UpdateNetwork request must be, before anything is changed. */
import { isIP } from 'node:net';
import { RpcError, type UpdateNetworkRequest } from '@coracle/wire';
import { invalid } from '../check.ts';

/** More than any container has; a kernel takes its time for each. */
const MAX_INTERFACES = 64;
const MAX_ENTRIES = 4096;
/** IFNAMSIZ of linux/if.h, with the final NUL. */
const NAME_BYTES = 16;

/** @throws RpcError invalid_argument naming the field */
export function checkNetwork({ interfaces, routes, neighbours }: UpdateNetworkRequest): void {
  const addresses = interfaces.reduce((sum, one) => sum + one.addresses.length, 0);
  if (interfaces.length > MAX_INTERFACES || addresses + routes.length + neighbours.length > MAX_ENTRIES) {
    const limits = `${MAX_INTERFACES} interfaces and ${MAX_ENTRIES} addresses, routes and neighbours`;
    throw new RpcError('invalid_argument', `a network has at most ${limits}`);
  }
  const names = new Set<string>();
  const macs = new Set<string>();
  interfaces.forEach(({ name, mac, mtu, addresses: own }, index) => {
    const field = `interfaces[${index}]`;
    checkName(name, `${field}.name`);
    checkMac(mac, `${field}.mac`);
    checkNumber(mtu, 68, 0xffff, `${field}.mtu`);
    if (names.has(name) || macs.has(mac))
      throw invalid(field, `has the name or MAC of another: ${name}, ${mac}`);
    names.add(name);
    macs.add(mac);
    own.forEach((address, at) => {
      const inside = `${field}.addresses[${at}]`;
      const bits = checkAddress(address.address, `${inside}.address`);
      checkNumber(address.prefixLength, 0, bits, `${inside}.prefix_length`);
      checkNumber(address.scope, 0, 255, `${inside}.scope`);
      if (address.peer !== '') checkAddress(address.peer, `${inside}.peer`, bits);
      if (address.broadcast !== '') checkAddress(address.broadcast, `${inside}.broadcast`, bits);
    });
  });
  const checkInterface = (name: string, field: string): void => {
    if (!names.has(name))
      throw invalid(field, `names ${JSON.stringify(name)}, which is none of the interfaces`);
  };
  routes.forEach((route, index) => {
    const field = `routes[${index}]`;
    const bits = checkAddress(route.destination, `${field}.destination`);
    checkNumber(route.prefixLength, 0, bits, `${field}.prefix_length`);
    for (const key of ['scope', 'type', 'protocol'] as const)
      checkNumber(route[key], 0, 255, `${field}.${key}`);
    if (route.interface !== '') checkInterface(route.interface, `${field}.interface`);
    if (route.gateway !== '') checkAddress(route.gateway, `${field}.gateway`);
    if (route.source !== '') checkAddress(route.source, `${field}.source`, bits);
  });
  neighbours.forEach(({ interface: name, address, mac }, index) => {
    const field = `neighbours[${index}]`;
    checkInterface(name, `${field}.interface`);
    checkAddress(address, `${field}.address`);
    checkMac(mac, `${field}.mac`);
  });
}

/** As the kernel's dev_valid_name (net/core/dev.c); `lo` is the guest's own. */
function checkName(name: string, field: string): void {
  const bytes = Buffer.byteLength(name);
  if (
    bytes === 0 ||
    bytes >= NAME_BYTES ||
    name === 'lo' ||
    name === '.' ||
    name === '..' ||
    /[\s/:\0]/.test(name)
  )
    throw invalid(field, `is no name of an interface: ${JSON.stringify(name.slice(0, 64))}`);
}

function checkMac(mac: string, field: string): void {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(mac))
    throw invalid(field, `must be like 02:42:ac:11:00:02, it is ${JSON.stringify(mac.slice(0, 64))}`);
}

/** @returns how many bits it has */
function checkAddress(address: string, field: string, bits?: number): number {
  const found = { 4: 32, 6: 128 }[isIP(address)];
  if (found === undefined || address.includes('%') || (bits !== undefined && bits !== found))
    throw invalid(
      field,
      `must be an address${bits === undefined ? '' : ' of the same family'}, it is ${JSON.stringify(address.slice(0, 64))}`,
    );
  return found;
}

function checkNumber(value: number, min: number, max: number, field: string): void {
  if (value < min || value > max) throw invalid(field, `must be ${min} to ${max}, it is ${value}`);
}
