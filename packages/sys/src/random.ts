/** The kernel's random numbers (random(4)). */
import { closeSync, constants, openSync, readSync } from 'node:fs';
import { check, libc } from './libc.ts';

const cIoctl = libc('int ioctl(int fd, unsigned long request, void *argument)');

/** linux/random.h */
const RNDADDENTROPY = 0x40085203;
const RNDRESEEDCRNG = 0x5207;

const DEVICE = '/dev/urandom';

/**
 * Mixes bytes that nobody else knows into the kernel's pool and has it make all further random numbers from there
 * (needs CAP_SYS_ADMIN). For a machine that was copied: what others draw from the same pool is then no longer the same.
 */
export function reseedRandom(bytes: Uint8Array): void {
  // struct rand_pool_info { int entropy_count; int buf_size; __u32 buf[]; }, the first in bits
  const info = Buffer.alloc(8 + bytes.length);
  info.writeInt32LE(bytes.length * 8, 0);
  info.writeInt32LE(bytes.length, 4);
  info.set(bytes, 8);
  const fd = openSync(DEVICE, constants.O_RDWR);
  try {
    check(cIoctl(fd, RNDADDENTROPY, info), 'ioctl RNDADDENTROPY', DEVICE);
    check(cIoctl(fd, RNDRESEEDCRNG, null), 'ioctl RNDRESEEDCRNG', DEVICE);
  } finally {
    closeSync(fd);
  }
}

/**
 * Random bytes from the kernel itself. Node's own generator is seeded when Node starts, and goes on from there in each
 * copy of a machine.
 */
export function kernelRandom(count: number): Buffer {
  const bytes = Buffer.alloc(count);
  const fd = openSync(DEVICE, constants.O_RDONLY);
  try {
    // Up to 256 bytes come whole (random(4)).
    for (let filled = 0; filled < count; )
      filled += readSync(fd, bytes, filled, Math.min(256, count - filled), null);
  } finally {
    closeSync(fd);
  }
  return bytes;
}
