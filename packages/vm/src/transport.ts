/**
 * Which transport carries a VM's link. A virtio-serial port works everywhere. vsock needs /dev/vhost-vsock, whose file
 * may be there although its module is not: so `auto` believes only an answer of the device.
 */
import { randomInt } from 'node:crypto';
import { checkVhostVsock, isGuestCidFree, VHOST_VSOCK_DEVICE, VSOCK_CID_FIRST_GUEST } from '@coracle/sys';
import { VmError } from './errors.ts';
import { hasCapability } from './host.ts';
import type { VmImage } from './image.ts';

export type LinkTransport = 'virtio-serial' | 'vsock';
export type TransportSetting = 'auto' | LinkTransport;

export interface TransportDecision {
  readonly transport: LinkTransport;
  /** Why, for people: one sentence without its full stop. */
  readonly reason: string;
  /** What would make vsock usable, where that is known. */
  readonly remedy?: string;
}

/** What is asked of /dev/vhost-vsock. */
export interface VhostVsock {
  /** @throws Error that says why it can't be used */
  check(): void;
  isFree(cid: number): boolean;
}

/** CAP_NET_BIND_SERVICE (linux/capability.h) */
const netBindService = 10;

export const hostVhostVsock: VhostVsock = {
  check() {
    checkVhostVsock();
    // The proxy, which runs as we do, has to come from a reserved port (docs/protocol.md, section 9).
    if (!hasCapability(netBindService)) {
      const message = 'the proxy needs CAP_NET_BIND_SERVICE for its reserved port';
      throw Object.assign(new Error(message), { code: 'EPERM' });
    }
  },
  isFree: (cid) => isGuestCidFree(cid),
};

/** The port on which a guest's agent listens; guests have a CID each, so they can all have the same. */
export const agentVsockPort = 1024;

/** The guest's driver. */
export const vsockModule = 'vmw_vsock_virtio_transport';

/**
 * @param image what the guest's kernel can carry a link over
 * @param templates whether VMs are started from templates: a guest's CID is part of what would be saved
 * @throws VmError `vsock-unusable` when vsock is demanded and there is none
 */
export function decideTransport(
  setting: TransportSetting,
  image: Pick<VmImage, 'directory' | 'transports'>,
  vhost: VhostVsock = hostVhostVsock,
  templates = false,
): TransportDecision {
  if (setting === 'virtio-serial') return { transport: setting, reason: 'virtio-serial was asked for' };
  if (!image.transports.includes('vsock')) {
    const reason = `the kernel of the guest image ${image.directory} has no vsock`;
    return withoutVsock(setting, reason, 'Build the guest image again with `make image`.');
  }
  try {
    vhost.check();
    if (setting === 'auto' && templates)
      return {
        transport: 'virtio-serial',
        reason: `${VHOST_VSOCK_DEVICE} answers, but VMs that are started from templates have none`,
      };
    const reason = setting === 'vsock' ? 'vsock was asked for' : `${VHOST_VSOCK_DEVICE} answers`;
    return { transport: 'vsock', reason };
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    const reason =
      code === 'ENOENT'
        ? `this host has no ${VHOST_VSOCK_DEVICE}`
        : `${VHOST_VSOCK_DEVICE} does not work: ${message}`;
    const remedy =
      code === 'EACCES' || code === 'EPERM'
        ? 'Run as root.'
        : 'Load its module: modprobe vhost_vsock (a host that is a VM itself may lack it).';
    return withoutVsock(setting, reason, remedy, cause);
  }
}

function withoutVsock(
  setting: TransportSetting,
  reason: string,
  remedy: string,
  cause?: unknown,
): TransportDecision {
  if (setting === 'auto') return { transport: 'virtio-serial', reason, remedy };
  throw new VmError('vsock-unusable', `vsock was asked for, but ${reason}`, {
    remedy: `${remedy} Or use CORACLE_TRANSPORT=auto, which falls back to virtio-serial.`,
    cause,
  });
}

/** Out of 2^32: the first one tried is nearly always free. */
const cidTries = 16;

/** A CID that no guest of this host has at the moment. @throws VmError `vsock-unusable` */
export function chooseCid(vhost: VhostVsock = hostVhostVsock): number {
  try {
    for (let tried = 0; tried < cidTries; tried++) {
      const cid = randomInt(VSOCK_CID_FIRST_GUEST, 0xffff_ffff);
      if (vhost.isFree(cid)) return cid;
    }
  } catch (cause) {
    throw new VmError('vsock-unusable', `cannot find a CID for the guest: ${(cause as Error).message}`, {
      cause,
    });
  }
  throw new VmError('vsock-unusable', `none of ${cidTries} CIDs taken at random was free`);
}

/** QEMU lost the race for a CID (hw/virtio/vhost-vsock.c, vhost_vsock_set_guest_cid). */
export const isCidTaken = (qemuSays: string): boolean =>
  /unable to set guest cid: .*Address already in use/.test(qemuSays);
