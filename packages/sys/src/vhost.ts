/**
 * /dev/vhost-vsock (linux/vhost.h): what a VMM on this host needs to give a guest AF_VSOCK. QEMU does the work;
 * here it is only asked whether it would succeed, and with which CID.
 */
import { closeSync, constants, openSync } from 'node:fs';
import { constants as os } from 'node:os';
import { SysError } from './error.ts';
import { check, lastErrno, libc } from './libc.ts';
import { VSOCK_CID_FIRST_GUEST } from './vsock.ts';

const cIoctl = libc('int ioctl(int fd, unsigned long request, void *argument)');

export const VHOST_VSOCK_DEVICE = '/dev/vhost-vsock';
/** _IOR(0xAF, 0x00, u64) */
const VHOST_GET_FEATURES = 0x8008_af00;
/** _IOW(0xAF, 0x60, u64) */
const VHOST_VSOCK_SET_GUEST_CID = 0x4008_af60;

/**
 * Opens the device and asks what it offers: a device file may be there although its module can't be loaded.
 * @throws Error of open(2), SysError of the ioctl
 */
export function checkVhostVsock(path: string = VHOST_VSOCK_DEVICE): void {
  withDevice(path, (fd) => {
    const features = Buffer.alloc(8);
    check(cIoctl(fd, VHOST_GET_FEATURES, features), 'ioctl VHOST_GET_FEATURES', path);
  });
}

/**
 * Whether no guest of this host has this CID now. It is free again when this returns: whoever starts a guest with it
 * must be ready to lose a race.
 */
export function isGuestCidFree(cid: number, path: string = VHOST_VSOCK_DEVICE): boolean {
  if (!Number.isInteger(cid) || cid < VSOCK_CID_FIRST_GUEST || cid >= 0xffff_ffff)
    throw new RangeError(`${cid} is no CID of a guest`);
  return withDevice(path, (fd) => {
    const value = Buffer.alloc(8);
    value.writeBigUInt64LE(BigInt(cid));
    if (cIoctl(fd, VHOST_VSOCK_SET_GUEST_CID, value) === 0) return true;
    const errno = lastErrno();
    if (errno === os.errno.EADDRINUSE) return false;
    throw new SysError(errno, 'ioctl VHOST_VSOCK_SET_GUEST_CID', `${path} with CID ${cid}`);
  });
}

function withDevice<T>(path: string, use: (fd: number) => T): T {
  const fd = openSync(path, constants.O_RDWR);
  try {
    return use(fd);
  } finally {
    closeSync(fd);
  }
}
