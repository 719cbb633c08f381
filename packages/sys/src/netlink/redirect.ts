/**
 * Having what one interface receives sent out of another (tc(8)): the ingress qdisc, a u32 filter that matches
 * everything, and the action mirred with egress redirect. Frames go over before any protocol sees them, offloads included
 * (linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h). u32 and not matchall: more kernels have it. Filters that
 * are looked at before that one make exceptions.
 */
import { constants } from 'node:os';
import { SysError } from '../error.ts';
import { attribute, Flag, text } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_NEWTFILTER = 44;
const RTM_DELTFILTER = 45;
// struct tcmsg { u8 family; u8 pad; u16 pad; s32 ifindex; u32 handle; u32 parent; u32 info }
const TCMSG_BYTES = 20;
const TC_H_INGRESS = 0xfffffff1;
/** ffff: */
const INGRESS_HANDLE = 0xffff0000;
const ETH_P_ALL = 0x0003;
/** Of the filter that matches everything: the last. */
const LAST_PRIORITY = 100;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TC_ACT_OK = 0;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;
const TCA_EGRESS_MIRROR = 2;

/** 32 bits of a packet, from its network header on. */
export interface PacketWord {
  /** A multiple of four. */
  readonly offset: number;
  /** As they come on the wire, the first byte highest. */
  readonly mask: number;
  readonly value: number;
}

/** Packets that this kernel gets, in place of the other interface or beside it. */
export interface Exception {
  /** 1 to 99: it is looked at in this order, and there is one of each. */
  readonly priority: number;
  /** ETH_P_* of linux/if_ether.h. */
  readonly protocol: number;
  /** All of them must be so. */
  readonly words: readonly PacketWord[];
  /** The index of the interface that gets a copy. */
  readonly copyTo?: number;
}

function tcMessage(index: number, handle: number, parent: number, info: number): Buffer {
  const body = Buffer.alloc(TCMSG_BYTES);
  body.writeInt32LE(index, 4);
  body.writeUInt32LE(handle, 8);
  body.writeUInt32LE(parent, 12);
  body.writeUInt32LE(info, 16);
  return body;
}

/** Replaces whatever ingress qdisc the interface has. @throws SysError such as ENODEV; ENOENT or EOPNOTSUPP with a hint */
export function redirectIngress(socket: NetlinkSocket, from: number, to: number): void {
  stopRedirect(socket, from);
  try {
    const qdisc = [tcMessage(from, INGRESS_HANDLE, TC_H_INGRESS, 0), attribute(TCA_KIND, text('ingress'))];
    const flags = Flag.create | Flag.exclusive;
    socket.change(RTM_NEWQDISC, flags, Buffer.concat(qdisc), 'RTM_NEWQDISC', `interface ${from} (ingress)`);
    addFilter(socket, from, { priority: LAST_PRIORITY, protocol: ETH_P_ALL, words: [everything] }, [
      mirred(TCA_EGRESS_REDIR, TC_ACT_STOLEN, to),
    ]);
  } catch (error) {
    if (!(error instanceof SysError) || !['ENOENT', 'EOPNOTSUPP', 'EINVAL'].includes(error.code)) throw error;
    const hint =
      "the host's kernel needs sch_ingress, cls_u32 and act_mirred (modprobe, or CONFIG_NET_SCH_INGRESS…)";
    throw new SysError(error.errno, error.syscall, error.subject, hint);
  }
}

/** Takes the ingress qdisc away, if there is one. @throws SysError */
export function stopRedirect(socket: NetlinkSocket, from: number): void {
  try {
    const body = tcMessage(from, INGRESS_HANDLE, TC_H_INGRESS, 0);
    socket.change(RTM_DELQDISC, 0, body, 'RTM_DELQDISC', `interface ${from} (ingress)`);
  } catch (error) {
    // None there, or the interface is gone.
    const none: readonly unknown[] = [constants.errno.ENOENT, constants.errno.EINVAL, constants.errno.ENODEV];
    if (!none.includes((error as SysError).errno)) throw error;
  }
}

/** Of an interface that is redirected. One that is there already is replaced. @throws SysError */
export function makeException(socket: NetlinkSocket, from: number, exception: Exception): void {
  const { priority, protocol, copyTo } = exception;
  try {
    const body = tcMessage(from, 0, INGRESS_HANDLE, filterInfo(priority, protocol));
    socket.change(RTM_DELTFILTER, 0, body, 'RTM_DELTFILTER', `interface ${from} (u32)`);
  } catch (error) {
    const none: readonly unknown[] = [constants.errno.ENOENT, constants.errno.EINVAL];
    if (!none.includes((error as SysError).errno)) throw error;
  }
  // Without an action the packet goes on to this kernel.
  const actions = copyTo === undefined ? [] : [mirred(TCA_EGRESS_MIRROR, TC_ACT_OK, copyTo)];
  addFilter(socket, from, exception, actions);
}

type Filter = Pick<Exception, 'priority' | 'protocol' | 'words'>;

function addFilter(
  socket: NetlinkSocket,
  from: number,
  { priority, protocol, words }: Filter,
  actions: readonly Buffer[],
): void {
  const options = [attribute(TCA_U32_SEL, selector(words))];
  if (actions.length > 0) options.push(attribute(TCA_U32_ACT, [...actions]));
  const filter = [
    tcMessage(from, 0, INGRESS_HANDLE, filterInfo(priority, protocol)),
    attribute(TCA_KIND, text('u32')),
    attribute(TCA_OPTIONS, options),
  ];
  const flags = Flag.create | Flag.exclusive;
  socket.change(
    RTM_NEWTFILTER,
    flags,
    Buffer.concat(filter),
    'RTM_NEWTFILTER',
    `interface ${from} (u32, mirred)`,
  );
}

/** The protocol is in network order. */
function filterInfo(priority: number, protocol: number): number {
  return ((priority << 16) | ((protocol & 0xff) << 8) | (protocol >> 8)) >>> 0;
}

/** 0 & 0 = 0 */
const everything: PacketWord = { offset: 0, mask: 0, value: 0 };

/**
 * struct tc_u32_sel { u8 flags, offshift, nkeys; be16 offmask; u16 off; s16 offoff, hoff; be32 hmask } and for each word a
 * struct tc_u32_key { be32 mask, val; int off, offmask }.
 */
function selector(words: readonly PacketWord[]): Buffer {
  const bytes = Buffer.alloc(16 + 16 * words.length);
  bytes.writeUInt8(TC_U32_TERMINAL, 0);
  bytes.writeUInt8(words.length, 2);
  words.forEach(({ offset, mask, value }, index) => {
    const at = 16 + 16 * index;
    bytes.writeUInt32BE(mask >>> 0, at);
    bytes.writeUInt32BE(value >>> 0, at + 4);
    bytes.writeInt32LE(offset, at + 8);
  });
  return bytes;
}

/** struct tc_mirred { u32 index, capab; s32 action, refcnt, bindcnt; s32 eaction; u32 ifindex }, as the first of a list of actions. */
function mirred(what: number, action: number, to: number): Buffer {
  const parameters = Buffer.alloc(28);
  parameters.writeInt32LE(action, 8);
  parameters.writeInt32LE(what, 20);
  parameters.writeUInt32LE(to, 24);
  return attribute(1, [
    attribute(TCA_ACT_KIND, text('mirred')),
    attribute(TCA_ACT_OPTIONS, [attribute(TCA_MIRRED_PARMS, parameters)]),
  ]);
}
