// Addresses and errors. Connections need a loopback that not every host has: test/vsock runs them in a guest.
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import {
  formatLinkAddress,
  hybridListenPath,
  parseLinkAddress,
  readLinkRecord,
  writeLinkRecord,
} from './link-address.ts';
import { checkVhostVsock, isGuestCidFree } from './vhost.ts';
import { decodeVsockAddress, encodeVsockAddress, VSOCK_CID_ANY, VSOCK_PORT_ANY } from './vsock.ts';

const folder = mkdtempSync(join(tmpdir(), 'coracle-vsock-'));
afterAll(() => rmSync(folder, { recursive: true }));

describe('vsock addresses', () => {
  it('are laid out as struct sockaddr_vm', () => {
    expect(encodeVsockAddress({ cid: 0x0403_0201, port: 0x1413_1211 }).toString('hex')).toBe(
      `2800${'0000'}${'11121314'}${'01020304'}${'00000000'}`,
    );
    expect(encodeVsockAddress({ cid: VSOCK_CID_ANY, port: VSOCK_PORT_ANY }).toString('hex')).toBe(
      '28000000ffffffffffffffff00000000',
    );
  });

  it('come back as they were', () => {
    const u32 = fc.nat({ max: 0xffff_ffff });
    fc.assert(
      fc.property(u32, u32, (cid, port) => {
        expect(decodeVsockAddress(encodeVsockAddress({ cid, port }))).toEqual({ cid, port });
      }),
    );
  });

  it.each([
    [{ cid: -1, port: 1 }, 'cid -1'],
    [{ cid: 1, port: 2 ** 32 }, 'port 4294967296'],
    [{ cid: 1.5, port: 1 }, 'cid 1.5'],
    [{ cid: 3, port: Number.NaN }, 'port NaN'],
  ])('%j is refused', (address, what) => {
    expect(() => encodeVsockAddress(address)).toThrow(`the vsock ${what} is no number of 32 bits`);
  });

  it('of another family or too short are none', () => {
    expect(() => decodeVsockAddress(Buffer.alloc(16))).toThrow('family 0');
    expect(() => decodeVsockAddress(Buffer.from([40, 0, 0, 0]))).toThrow('family -1');
  });
});

describe('link addresses', () => {
  it.each([
    ['unix:link.sock', { kind: 'unix', path: '/s/link.sock' }, 'unix:/s/link.sock'],
    ['unix:/a:1', { kind: 'unix', path: '/a:1' }, 'unix:/a:1'],
    ['hybrid:v.sock:1024', { kind: 'hybrid', path: '/s/v.sock', port: 1024 }, 'hybrid:/s/v.sock:1024'],
    ['hybrid-listen:/x/a:b:5', { kind: 'hybrid-listen', path: '/x/a:b', port: 5 }, 'hybrid-listen:/x/a:b:5'],
    ['vsock:3:1024', { kind: 'vsock', cid: 3, port: 1024 }, 'vsock:3:1024'],
    ['vsock:1:9', { kind: 'vsock', cid: 1, port: 9 }, 'vsock:1:9'],
  ])('%s', (text, address, whole) => {
    expect(parseLinkAddress(text, '/s')).toEqual(address);
    expect(formatLinkAddress(parseLinkAddress(text, '/s'))).toBe(whole);
  });

  // A link to CID 2 would be one to whatever listens on the host; 0 is the hypervisor, 2^32 - 1 means "any".
  it.each([
    'vsock:2:1024',
    'vsock:0:1024',
    'vsock:4294967295:1024',
    'vsock:3:4294967295',
    'vsock:x:1',
    'vsock:3',
    'hybrid:/a',
    'hybrid::5',
    'unix:',
    'tcp:1:2',
    '',
  ])('%s is none', (text) => {
    expect(() => parseLinkAddress(text, '/s')).toThrow(/is no link address: unix:PATH, /);
  });

  it('of a guest that connects by itself is a socket beside the VMM’s', () => {
    expect(hybridListenPath({ path: '/s/v.sock', port: 52 })).toBe('/s/v.sock_52');
  });

  it('are kept in a file that is there whole or not at all', () => {
    expect(readLinkRecord(folder)).toEqual({ address: { kind: 'unix', path: join(folder, 'link.sock') } });
    const record = {
      address: { kind: 'vsock', cid: 7, port: 1024 },
      process: { pid: 12, startTicks: 34 },
    } as const;
    writeLinkRecord(folder, record);
    expect(readLinkRecord(folder)).toEqual(record);
    expect(readdirSync(folder)).toEqual(['link.json']);
  });

  it.each([
    ['{"version":2}', 'version 2 is not known'],
    ['{"version":1,"address":"vsock:2:1"}', 'is no link address'],
    ['{"version":1,"address":"vsock:3:1","process":{"pid":"1"}}', 'process must have a pid'],
    ['{', 'cannot read the link’s record'.replace('’', "'")],
  ])('a record %s is refused', (text, message) => {
    writeFileSync(join(folder, 'link.json'), text);
    expect(() => readLinkRecord(folder)).toThrow(message);
  });
});

describe('vhost-vsock', () => {
  it('that is not there, or is another device, says so', () => {
    expect(() => checkVhostVsock(join(folder, 'none'))).toThrow(expect.objectContaining({ code: 'ENOENT' }));
    expect(() => checkVhostVsock('/dev/null')).toThrow(
      /ioctl VHOST_GET_FEATURES on \/dev\/null failed: .*\(ENOTTY\)/,
    );
    expect(() => isGuestCidFree(3, '/dev/null')).toThrow(/CID 3 failed: .*\(ENOTTY\)/);
  });

  it.each([0, 1, 2, 0xffff_ffff, 2.5])('%s is no CID of a guest', (cid) => {
    expect(() => isGuestCidFree(cid, '/dev/null')).toThrow('is no CID of a guest');
  });
});
