/** Network interfaces, as far as a boot needs them (netdevice(7)). */
import { close } from './fd.ts';
import { check, libc } from './libc.ts';

const cSocket = libc('int socket(int domain, int type, int protocol)');
const cIoctl = libc('int ioctl(int fd, unsigned long request, void *argument)');

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
/** linux/sockios.h, linux/if.h */
const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const IFF_UP = 1;
/** struct ifreq: 16 bytes of name, then a union of 24. */
const IFREQ_BYTES = 40;
const NAME_BYTES = 16;

/**
 * Switches an interface on: what `ip link set NAME up` does, without a process for it.
 * @throws SysError such as ENODEV
 */
export function setInterfaceUp(name: string): void {
  const request = Buffer.alloc(IFREQ_BYTES);
  request.write(name, 0, NAME_BYTES - 1);
  const fd = check(cSocket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), 'socket', 'AF_INET');
  try {
    check(cIoctl(fd, SIOCGIFFLAGS, request), 'ioctl SIOCGIFFLAGS', name);
    request.writeInt16LE(request.readInt16LE(NAME_BYTES) | IFF_UP, NAME_BYTES);
    check(cIoctl(fd, SIOCSIFFLAGS, request), 'ioctl SIOCSIFFLAGS', name);
  } finally {
    close(fd);
  }
}
