/** Tap devices: an Ethernet interface whose other end is a descriptor (Documentation/networking/tuntap.rst, linux/if_tun.h). */
import { openSync } from 'node:fs';
import { constants } from 'node:os';
import { SysError } from './error.ts';
import { close } from './fd.ts';
import { lastErrno, libc } from './libc.ts';

const cIoctl = libc('int ioctl(int fd, unsigned long request, void *argument)');

const DEVICE = '/dev/net/tun';
/** O_RDWR | O_NONBLOCK | O_CLOEXEC: QEMU expects what it is given to be nonblocking. */
const FLAGS = 0o2 | 0o4000 | 0o2000000;
/** _IOW('T', 202, int) */
const TUNSETIFF = 0x400454ca;
const IFF_TAP = 0x0002;
const IFF_NO_PI = 0x1000;
/** Each frame has a virtio_net_hdr in front: checksums and segmentation are left to whoever comes last. */
const IFF_VNET_HDR = 0x4000;
/** struct ifreq: 16 bytes of name, then a union of 24. */
const IFREQ_BYTES = 40;
const NAME_BYTES = 16;

/**
 * Makes a tap in the calling thread's network namespace; it is gone when its last descriptor is closed. The caller closes.
 * Offloads are off until whoever reads the frames says what it can take (TUNSETOFFLOAD, which QEMU does as the guest says).
 * @throws SysError EBUSY when there is an interface of that name; ENOENT without the driver; EPERM
 */
export function openTap(name: string): number {
  if (name === '' || Buffer.byteLength(name) >= NAME_BYTES)
    throw new SysError(constants.errno.EINVAL, 'ioctl TUNSETIFF', JSON.stringify(name));
  let fd: number;
  try {
    fd = openSync(DEVICE, FLAGS);
  } catch (error) {
    const errno = -((error as NodeJS.ErrnoException).errno ?? 0);
    throw new SysError(errno, 'open', DEVICE, "the host's kernel needs tun (modprobe tun, or CONFIG_TUN)");
  }
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(name);
  request.writeInt16LE(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR, NAME_BYTES);
  if (cIoctl(fd, TUNSETIFF, request) === 0) return fd;
  const errno = lastErrno();
  close(fd);
  throw new SysError(errno, 'ioctl TUNSETIFF', name);
}
