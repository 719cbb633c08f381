// Against the real kernel, in a network namespace of its own; ip(8) and tc(8) say whether the two mean the same.
import { execFileSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { close } from '../fd.ts';
import { inNetworkNamespace, inNewNetworkNamespace } from '../network-namespace.ts';
import { POLLIN, pollNow } from '../poll.ts';
import { openTap } from '../tap.ts';
import * as rtnetlink from './index.ts';
import { attribute, attributes, decodeMessages, encodeMessage, text, u32 } from './message.ts';

const shell = (script: string): string => execFileSync('/bin/sh', ['-ec', script], { encoding: 'utf8' });
const json = (command: string) => JSON.parse(shell(`ip -j ${command}`));

/** In a namespace with veth `eth0` (its other end `peer`), both up. */
function withVeth<T>(act: (socket: rtnetlink.NetlinkSocket, index: number) => T): T {
  return inNewNetworkNamespace(() => {
    shell('ip link add eth0 type veth peer name peer; ip link set eth0 up; ip link set peer up');
    using socket = new rtnetlink.NetlinkSocket();
    return act(socket, rtnetlink.listLinks(socket).find(({ name }) => name === 'eth0')!.index);
  });
}

describe('messages', () => {
  const message = encodeMessage(
    16,
    5,
    7,
    Buffer.concat([u32(1), attribute(3, text('eth0')), attribute(4, u32(9))]),
  );

  it('are what they were when they are read again', () => {
    const [read] = [...decodeMessages(Buffer.concat([message, message]))];
    expect(read).toMatchObject({ type: 16, flags: 5, sequence: 7 });
    expect([...attributes(read!.body, 4)]).toEqual([
      [3, text('eth0')],
      [4, u32(9)],
    ]);
  });

  it('that are cut anywhere are read as far as they go', () => {
    for (let length = 0; length < message.length; length++) {
      expect([...decodeMessages(message.subarray(0, length))]).toEqual([]);
      expect(attributes(message.subarray(16, length), 4).size).toBeLessThanOrEqual(2);
    }
  });
});

describe('links', () => {
  it('are listed and changed', () => {
    withVeth((socket, index) => {
      const find = () => rtnetlink.listLinks(socket).find((link) => link.index === index)!;
      expect(rtnetlink.listLinks(socket).find(({ loopback }) => loopback)).toMatchObject({
        name: 'lo',
        up: false,
      });
      const { address } = json('link show eth0')[0];
      expect(find()).toMatchObject({
        mac: address,
        mtu: 1500,
        up: true,
        ethernet: true,
        kind: 'veth',
        loopback: false,
      });
      rtnetlink.changeLink(socket, index, { up: false });
      rtnetlink.changeLink(socket, index, { name: 'net7', mtu: 9000, mac: '02:00:00:00:00:07', up: true });
      expect(find()).toMatchObject({ name: 'net7', mtu: 9000, mac: '02:00:00:00:00:07', up: true });
      expect(() => rtnetlink.changeLink(socket, index, { mtu: 7 })).toThrow(
        /RTM_NEWLINK on interface \d+ \(mtu 7\).*EINVAL/,
      );
      expect(() => rtnetlink.changeLink(socket, 4711, { up: true })).toThrow(/ENODEV/);
    });
  });

  it('that change make a listening socket readable', () => {
    withVeth((socket, index) => {
      using events = new rtnetlink.NetlinkSocket(rtnetlink.Group.links);
      rtnetlink.changeLink(socket, index, { mtu: 1400 });
      expect(pollNow(events.fd, POLLIN)).toBe(POLLIN);
      events.drain();
      expect(pollNow(events.fd, POLLIN)).toBe(0);
    });
  });
});

describe('addresses', () => {
  it('of both families are added, listed and removed', () => {
    withVeth((socket, index) => {
      const added = [
        {
          index,
          address: '10.1.2.3',
          prefixLength: 24,
          broadcast: '10.1.2.255',
          scope: 0,
          noPrefixRoute: false,
        },
        { index, address: '10.9.0.1', prefixLength: 32, peer: '10.9.0.2', scope: 0, noPrefixRoute: false },
        { index, address: 'fd00:1::3', prefixLength: 64, scope: 0, noPrefixRoute: true },
      ];
      for (const address of added) rtnetlink.addAddress(socket, address);
      const listed = () => rtnetlink.listAddresses(socket).filter(({ scope }) => scope === 0);
      expect(listed()).toEqual(expect.arrayContaining(added.map((one) => ({ ...one, permanent: true }))));
      const seen = json('addr show eth0')[0].addr_info.map(({ local }: { local: string }) => local);
      expect(seen).toEqual(expect.arrayContaining(['10.1.2.3', '10.9.0.1', 'fd00:1::3']));
      expect(json('-6 addr show eth0')[0].addr_info[0]).not.toHaveProperty('tentative');
      expect(() => rtnetlink.addAddress(socket, added[0]!)).toThrow(/EEXIST/);
      for (const address of added) rtnetlink.removeAddress(socket, address);
      expect(listed()).toEqual([]);
    });
  });
});

describe('routes', () => {
  it('of the main table are set, listed and removed', () => {
    withVeth((socket, index) => {
      shell('ip addr add 10.1.2.3/24 dev eth0; ip addr add fd00:1::3/64 dev eth0 nodad');
      const base = {
        index,
        priority: 0,
        scope: 0,
        type: rtnetlink.RouteType.unicast,
        protocol: 3,
        onLink: false,
      };
      const added: rtnetlink.Route[] = [
        {
          ...base,
          destination: '0.0.0.0',
          prefixLength: 0,
          gateway: '10.1.2.1',
          source: '10.1.2.3',
          mtu: 1300,
        },
        { ...base, destination: '10.7.0.0', prefixLength: 16, scope: 253, priority: 50 },
        { ...base, destination: '10.8.0.0', prefixLength: 16, gateway: '192.0.2.1', onLink: true },
        { ...base, destination: '10.9.0.0', prefixLength: 16, gateway: 'fe80::1', onLink: true },
        { ...base, destination: '::', prefixLength: 0, gateway: 'fd00:1::1', priority: 1024 },
        {
          ...base,
          destination: '10.66.0.0',
          prefixLength: 16,
          index: 0,
          type: rtnetlink.RouteType.blackhole,
        },
      ];
      for (const route of added) rtnetlink.setRoute(socket, route);
      const listed = () => rtnetlink.listRoutes(socket).filter(({ protocol }) => protocol === 3);
      expect(listed()).toHaveLength(added.length);
      expect(listed()).toEqual(expect.arrayContaining(added));
      expect(json('route show default')[0]).toMatchObject({ gateway: '10.1.2.1', prefsrc: '10.1.2.3' });
      expect(json('-6 route show default')[0]).toMatchObject({ gateway: 'fd00:1::1' });
      for (const route of added) rtnetlink.removeRoute(socket, route);
      expect(listed()).toEqual([]);
      expect(() =>
        rtnetlink.setRoute(socket, {
          ...base,
          destination: '10.7.0.0',
          prefixLength: 16,
          gateway: '203.0.113.1',
        }),
      ).toThrow(/RTM_NEWROUTE on 10.7.0.0\/16 by 203.0.113.1 on interface \d+ failed: .*ENETUNREACH/);
    });
  });
});

describe('neighbours', () => {
  it('that are permanent are set, listed and removed', () => {
    withVeth((socket, index) => {
      const mac = '02:00:00:00:00:09';
      const added = ['10.1.2.9', 'fd00:1::9'].map((address) => ({ index, address, mac }));
      for (const neighbour of added) rtnetlink.setNeighbour(socket, neighbour);
      shell(`ip neigh add 10.1.2.10 lladdr ${mac} dev eth0 nud stale`);
      expect(rtnetlink.listNeighbours(socket)).toEqual(expect.arrayContaining(added));
      expect(rtnetlink.listNeighbours(socket)).toHaveLength(2);
      for (const neighbour of added) rtnetlink.removeNeighbour(socket, neighbour);
      expect(rtnetlink.listNeighbours(socket)).toEqual([]);
    });
  });
});

describe('taps and redirection', () => {
  it('send all that one interface receives out of another, and stop', () => {
    withVeth((socket, index) => {
      const tap = openTap('tap7');
      expect(() => openTap('tap7')).toThrow(/ioctl TUNSETIFF on tap7 failed: .*EBUSY/);
      const link = rtnetlink.listLinks(socket).find(({ name }) => name === 'tap7')!;
      expect(link).toMatchObject({ kind: 'tun', ethernet: true });
      rtnetlink.changeLink(socket, link.index, { withoutIpv6Address: true });
      rtnetlink.changeLink(socket, link.index, { up: true });
      expect(
        json('-6 addr show tap7').flatMap(({ addr_info }: { addr_info?: [] }) => addr_info ?? []),
      ).toEqual([]);
      rtnetlink.redirectIngress(socket, index, link.index);
      rtnetlink.redirectIngress(socket, index, link.index);
      expect(shell('tc filter show dev eth0 ingress')).toMatch(
        /match 00000000\/00000000 at 0.*Egress Redirect to device tap7\) stolen/s,
      );
      const words = [
        { offset: 0, mask: 0x0f000000, value: 0x05000000 },
        { offset: 20, mask: 0xfffffc00, value: (53 << 16) | 0xfc00 },
      ];
      for (let times = 0; times < 2; times++) {
        rtnetlink.makeException(socket, index, { priority: 1, protocol: 0x0800, words });
        rtnetlink.makeException(socket, index, {
          priority: 2,
          protocol: 0x0806,
          words: [],
          copyTo: link.index,
        });
      }
      const filters = shell('tc filter show dev eth0 ingress');
      expect(filters).toMatch(
        /protocol ip pref 1 .*match 05000000\/0f000000 at 0\n +match 0035fc00\/fffffc00 at 20\n.*protocol arp pref 2 .*Egress Mirror to device tap7\) pass.*protocol all pref 100 .*Egress Redirect/s,
      );
      expect(filters.match(/ match /g)).toHaveLength(3);
      rtnetlink.stopRedirect(socket, index);
      rtnetlink.stopRedirect(socket, index);
      expect(shell('tc qdisc show dev eth0')).not.toContain('ingress');
      close(tap);
      expect(rtnetlink.listLinks(socket).map(({ name }) => name)).not.toContain('tap7');
      expect(() => rtnetlink.redirectIngress(socket, 4711, index)).toThrow(/ENODEV/);
    });
  });
});

describe('inNetworkNamespace', () => {
  it('comes back, whatever happens there', () => {
    const here = shell('readlink /proc/self/ns/net');
    const [there, again] = inNewNetworkNamespace(() => [
      shell('readlink /proc/self/ns/net'),
      inNetworkNamespace('/proc/thread-self/ns/net', () => shell('readlink /proc/self/ns/net')),
    ]);
    expect(there).not.toBe(here);
    expect(again).toBe(there);
    expect(() =>
      inNewNetworkNamespace(() => {
        throw new Error('there');
      }),
    ).toThrow('there');
    expect(() => inNetworkNamespace('/proc/self/ns/mnt', () => 0)).toThrow(/setns on .*EINVAL/);
    expect(() => inNewNetworkNamespace(async () => {})).toThrow('must not wait');
    expect(shell('readlink /proc/self/ns/net')).toBe(here);
  });
});
