/**
 * Having all that one interface receives sent out of another (tc(8)): the ingress qdisc, a u32 filter that matches
 * everything, and the action mirred with egress redirect. Frames go over before any protocol sees them, offloads included
 * (linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h). u32 and not matchall: more kernels have it.
 */
import { constants } from 'node:os';
import { SysError } from '../error.ts';
import { attribute, Flag, text } from './message.ts';
import type { NetlinkSocket } from './socket.ts';

const RTM_NEWQDISC = 36;
const RTM_DELQDISC = 37;
const RTM_NEWTFILTER = 44;
// struct tcmsg { u8 family; u8 pad; u16 pad; s32 ifindex; u32 handle; u32 parent; u32 info }
const TCMSG_BYTES = 20;
const TC_H_INGRESS = 0xfffffff1;
/** ffff: */
const INGRESS_HANDLE = 0xffff0000;
/** Priority 1, and ETH_P_ALL (3) in network order. */
const FILTER_INFO = (1 << 16) | 0x0300;
const TCA_KIND = 1;
const TCA_OPTIONS = 2;
const TCA_U32_SEL = 5;
const TCA_U32_ACT = 7;
const TC_U32_TERMINAL = 1;
const TCA_ACT_KIND = 1;
const TCA_ACT_OPTIONS = 2;
const TCA_MIRRED_PARMS = 2;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;

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
    const filter = [
      tcMessage(from, 0, INGRESS_HANDLE, FILTER_INFO),
      attribute(TCA_KIND, text('u32')),
      attribute(TCA_OPTIONS, [attribute(TCA_U32_SEL, everything()), attribute(TCA_U32_ACT, [redirect(to)])]),
    ];
    socket.change(
      RTM_NEWTFILTER,
      flags,
      Buffer.concat(filter),
      'RTM_NEWTFILTER',
      `interface ${from} (u32, mirred)`,
    );
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

/** struct tc_u32_sel { u8 flags, offshift, nkeys; be16 offmask; u16 off; s16 offoff, hoff; be32 hmask } and one key: 0 & 0 = 0. */
function everything(): Buffer {
  const selector = Buffer.alloc(16 + 16);
  selector.writeUInt8(TC_U32_TERMINAL, 0);
  selector.writeUInt8(1, 2);
  return selector;
}

/** struct tc_mirred { u32 index, capab; s32 action, refcnt, bindcnt; s32 eaction; u32 ifindex }, as the first of a list of actions. */
function redirect(to: number): Buffer {
  const parameters = Buffer.alloc(28);
  parameters.writeInt32LE(TC_ACT_STOLEN, 8);
  parameters.writeInt32LE(TCA_EGRESS_REDIR, 20);
  parameters.writeUInt32LE(to, 24);
  return attribute(1, [
    attribute(TCA_ACT_KIND, text('mirred')),
    attribute(TCA_ACT_OPTIONS, [attribute(TCA_MIRRED_PARMS, parameters)]),
  ]);
}
