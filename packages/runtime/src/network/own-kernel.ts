/**
 * What a namespace's own kernel still gets when its interfaces are the VM's: answers to what a name server in the namespace
 * asks others. Docker's asks from there, with the container's addresses, which the guest has too. So the namespace's kernel
 * chooses its ports from a range that the guest's does not use, and answers that go to this range reach both.
 */
import { writeFileSync } from 'node:fs';
import { rtnetlink } from '@coracle/sys';
import { tapName } from './read-network.ts';

/** The guest's range is 32768 to 60999 (net.ipv4.ip_local_port_range). A program may still choose one of these. */
const FIRST_PORT = 64512;
const LAST_PORT = 65535;

/** linux/if_ether.h, linux/in.h */
const ETH_P_IP = 0x0800;
const ETH_P_ARP = 0x0806;
const ETH_P_IPV6 = 0x86dd;
const TCP = 6;
const UDP = 17;
const ICMPV6 = 58;

type Word = rtnetlink.PacketWord;

/** Who has an address: the answer, not the question. */
const arpReply: Word = { offset: 4, mask: 0xffff, value: 2 };
const neighbourAdvertisement: Word = { offset: 40, mask: 0xff000000, value: 136 << 24 };
/** From port 53 to a port of the range. */
const ports = (offset: number): Word => ({
  offset,
  mask: 0xffff0000 | FIRST_PORT,
  value: (53 << 16) | FIRST_PORT,
});
/** Without options, and not the later part of a packet. */
const ipv4 = (protocol: number): Word[] => [
  { offset: 0, mask: 0x0f000000, value: 0x05000000 },
  { offset: 4, mask: 0x1fff, value: 0 },
  { offset: 8, mask: 0x00ff0000, value: protocol << 16 },
];
const ipv6 = (protocol: number): Word => ({ offset: 4, mask: 0xff00, value: protocol << 8 });

/**
 * The guest gets all of it as well, but for TCP, whose answer it would reset. What it does not know it refuses by ICMP,
 * which nobody minds who has just answered.
 */
const exceptions: readonly { protocol: number; words: readonly Word[]; copied: boolean }[] = [
  { protocol: ETH_P_ARP, words: [arpReply], copied: true },
  { protocol: ETH_P_IP, words: [...ipv4(UDP), ports(20)], copied: true },
  { protocol: ETH_P_IP, words: [...ipv4(TCP), ports(20)], copied: false },
  { protocol: ETH_P_IPV6, words: [ipv6(ICMPV6), neighbourAdvertisement], copied: true },
  { protocol: ETH_P_IPV6, words: [ipv6(UDP), ports(40)], copied: true },
  { protocol: ETH_P_IPV6, words: [ipv6(TCP), ports(40)], copied: false },
];

/** For interfaces that are joined with a tap; in the namespace. Idempotent. @throws SysError */
export function letNamesIn(links: readonly rtnetlink.Link[]): void {
  writeFileSync('/proc/sys/net/ipv4/ip_local_port_range', `${FIRST_PORT} ${LAST_PORT}`);
  using socket = new rtnetlink.NetlinkSocket();
  const all = rtnetlink.listLinks(socket);
  for (const { index } of links) {
    const tap = all.find(({ name }) => name === tapName(index));
    if (tap === undefined) continue;
    exceptions.forEach(({ protocol, words, copied }, at) => {
      const copy = copied ? { copyTo: tap.index } : {};
      rtnetlink.makeException(socket, index, { priority: at + 1, protocol, words, ...copy });
    });
  }
}
