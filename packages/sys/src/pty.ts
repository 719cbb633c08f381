/**
 * Pseudo-terminals (pty(7)) and terminal modes (termios(3)), by the kernel's ioctls.
 *
 * A pty's master is what the program outside reads and writes; its slave is the terminal of the processes.
 * The master reads EIO once everybody has closed the slave and all output has been taken.
 */
import { constants, openSync } from 'node:fs';
import { close } from './fd.ts';
import { check, libc } from './libc.ts';

const cIoctl = libc('int ioctl(int fd, unsigned long request, void *argument)');
const cIoctlNumber = libc('int ioctl(int fd, unsigned long request, long argument)');

/** asm-generic/ioctls.h */
const TCGETS = 0x5401;
const TCSETS = 0x5402;
const TIOCGWINSZ = 0x5413;
const TIOCSWINSZ = 0x5414;
const TIOCGPTN = 0x80045430;
const TIOCSPTLCK = 0x40045431;
const TIOCGPTPEER = 0x5441;

/** asm-generic/fcntl.h; Node's constants have no O_CLOEXEC. */
const O_CLOEXEC = 0o2000000;
const { O_RDWR, O_NOCTTY } = constants;

export interface WindowSize {
  readonly columns: number;
  readonly rows: number;
}

export interface Pty {
  /** Blocking until put into a stream or made nonblocking. */
  readonly master: number;
  readonly slave: number;
  /** Such as /dev/pts/3; it names the same terminal only within this mount namespace. */
  readonly slavePath: string;
}

/** Opens a new pty of the given size. Both descriptors are close-on-exec and nobody's controlling terminal. */
export function openPty(size: WindowSize = { columns: 80, rows: 24 }): Pty {
  const master = openSync('/dev/ptmx', O_RDWR | O_NOCTTY | O_CLOEXEC);
  try {
    check(cIoctl(master, TIOCSPTLCK, Buffer.alloc(4)), 'ioctl TIOCSPTLCK', '/dev/ptmx');
    setWindowSize(master, size);
    return { master, slave: openSlaveOf(master), slavePath: slavePathOf(master) };
  } catch (error) {
    close(master);
    throw error;
  }
}

/** Opens the slave of a master without a path, so it works across mount namespaces (TIOCGPTPEER, Linux 4.13). */
export function openSlaveOf(master: number): number {
  const flags = O_RDWR | O_NOCTTY | O_CLOEXEC;
  return check(cIoctlNumber(master, TIOCGPTPEER, flags), 'ioctl TIOCGPTPEER', `descriptor ${master}`);
}

/** The path of a master's slave in the devpts of this mount namespace. */
export function slavePathOf(master: number): string {
  const number = Buffer.alloc(4);
  check(cIoctl(master, TIOCGPTN, number), 'ioctl TIOCGPTN', `descriptor ${master}`);
  return `/dev/pts/${number.readUInt32LE(0)}`;
}

/** Whether the descriptor is the master of a pty. */
export function isPtyMaster(fd: number): boolean {
  return cIoctl(fd, TIOCGPTN, Buffer.alloc(4)) === 0;
}

// struct winsize { u16 rows, columns, xpixel, ypixel } (asm-generic/termios.h)
export function getWindowSize(fd: number): WindowSize {
  const size = Buffer.alloc(8);
  check(cIoctl(fd, TIOCGWINSZ, size), 'ioctl TIOCGWINSZ', `descriptor ${fd}`);
  return { rows: size.readUInt16LE(0), columns: size.readUInt16LE(2) };
}

/** Sets the size; if it changes, the kernel sends SIGWINCH to the terminal's foreground process group. */
export function setWindowSize(fd: number, { columns, rows }: WindowSize): void {
  const size = Buffer.alloc(8);
  size.writeUInt16LE(rows, 0);
  size.writeUInt16LE(columns, 2);
  check(cIoctl(fd, TIOCSWINSZ, size), 'ioctl TIOCSWINSZ', `descriptor ${fd}`);
}

export function isTerminal(fd: number): boolean {
  return cIoctl(fd, TCGETS, Buffer.alloc(TERMIOS_BYTES)) === 0;
}

/** A terminal's modes as the kernel keeps them, only to be given back to `restoreTerminal`. */
export type SavedTerminal = { readonly termios: Buffer };

// struct termios (asm-generic/termbits.h): u32 c_iflag, c_oflag, c_cflag, c_lflag; u8 c_line; u8 c_cc[19]
const TERMIOS_BYTES = 36;
const CC_OFFSET = 17;
const VTIME = 5;
const VMIN = 6;
// What cfmakeraw of termios(3) clears, in octal as in termbits.h.
const RAW_INPUT = 0o1 | 0o2 | 0o10 | 0o40 | 0o100 | 0o200 | 0o400 | 0o2000; // IGNBRK BRKINT PARMRK ISTRIP INLCR IGNCR ICRNL IXON
const RAW_OUTPUT = 0o1; // OPOST
const RAW_LOCAL = 0o10 | 0o100 | 0o2 | 0o1 | 0o100000; // ECHO ECHONL ICANON ISIG IEXTEN
const CSIZE = 0o60;
const CS8 = 0o60;
const PARENB = 0o400;

/** Puts a terminal into raw mode and returns the modes it had. */
export function makeRaw(fd: number): SavedTerminal {
  const termios = Buffer.alloc(TERMIOS_BYTES);
  check(cIoctl(fd, TCGETS, termios), 'ioctl TCGETS', `descriptor ${fd}`);
  const raw = Buffer.from(termios);
  const clear = (offset: number, bits: number, set = 0) =>
    raw.writeUInt32LE(((raw.readUInt32LE(offset) & ~bits) | set) >>> 0, offset);
  clear(0, RAW_INPUT);
  clear(4, RAW_OUTPUT);
  clear(8, CSIZE | PARENB, CS8);
  clear(12, RAW_LOCAL);
  raw[CC_OFFSET + VMIN] = 1;
  raw[CC_OFFSET + VTIME] = 0;
  setTermios(fd, raw);
  return { termios };
}

/**
 * Puts the saved modes back. At once, without waiting for output to drain: on a terminal stopped by Ctrl-S
 * that wait would never end.
 */
export function restoreTerminal(fd: number, saved: SavedTerminal): void {
  setTermios(fd, saved.termios);
}

function setTermios(fd: number, termios: Buffer): void {
  check(cIoctl(fd, TCSETS, termios), 'ioctl TCSETS', `descriptor ${fd}`);
}
