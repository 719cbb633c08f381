/**
 * A socket to the kernel's routing tables (rtnetlink(7)). It belongs to the network namespace in which it was opened,
 * wherever its holder goes afterwards.
 */
import { constants } from 'node:os';
import { SysError } from '../error.ts';
import { close } from '../fd.ts';
import { check, lastErrno, libc } from '../libc.ts';
import { decodeMessages, encodeMessage, Flag, Kind, type Message } from './message.ts';

const cSocket = libc('int socket(int domain, int type, int protocol)');
const cBind = libc('int bind(int fd, const void *address, uint32_t length)');
const cSend = libc('long send(int fd, const void *buffer, size_t length, int flags)');
const cRecv = libc('long recv(int fd, void *buffer, size_t length, int flags)');

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const NETLINK_ROUTE = 0;
/** linux/socket.h */
const MSG_DONTWAIT = 0x40;

/** The kernel fills at most 32 KiB at once when it dumps (NLMSG_GOODSIZE and netlink_dump). */
const RECEIVE_BYTES = 64 * 1024;
/** How often a table that changes all the time is read anew. */
const DUMP_TRIES = 8;

/** linux/rtnetlink.h, RTMGRP_*: what can be listened for. */
export const Group = { links: 0x1, addresses: 0x10 | 0x100, routes: 0x40 | 0x400 } as const;

export class NetlinkSocket {
  /** For a `Watch`; the caller leaves it open. */
  readonly fd: number;
  readonly #buffer = Buffer.alloc(RECEIVE_BYTES);
  #sequence = 0;

  /** @param groups a sum of `Group`: their changes make `fd` readable. Such a socket is for `drain` only */
  constructor(groups = 0) {
    const type = SOCK_RAW | SOCK_CLOEXEC;
    this.fd = check(cSocket(AF_NETLINK, type, NETLINK_ROUTE), 'socket', 'AF_NETLINK');
    try {
      // struct sockaddr_nl { u16 family; u16 pad; u32 port; u32 groups } (linux/netlink.h)
      const address = Buffer.alloc(12);
      address.writeUInt16LE(AF_NETLINK, 0);
      address.writeUInt32LE(groups, 8);
      check(cBind(this.fd, address, address.length), 'bind', 'a netlink socket');
    } catch (error) {
      close(this.fd);
      throw error;
    }
  }

  /**
   * Has the kernel do something.
   * @param subject what it is done on, for messages
   * @throws SysError with the kernel's errno
   */
  change(type: number, flags: number, body: Buffer, call: string, subject: string): void {
    const sequence = this.#send(type, flags | Flag.request | Flag.ack, body, call, subject);
    for (;;) {
      for (const answer of this.#receive(call, subject)) {
        if (answer.sequence !== sequence || answer.type !== Kind.error) continue;
        throwError(answer, call, subject);
        return;
      }
    }
  }

  /** All entries of a table. @throws SysError */
  dump(type: number, body: Buffer, call: string): Buffer[] {
    for (let tries = 1; ; tries++) {
      const { entries, interrupted } = this.#dumpOnce(type, body, call);
      // It changed while we read: entries may be missing.
      if (!interrupted || tries === DUMP_TRIES) return entries;
    }
  }

  #dumpOnce(type: number, body: Buffer, call: string): { entries: Buffer[]; interrupted: boolean } {
    const sequence = this.#send(type, Flag.request | Flag.dump, body, call, 'all');
    const entries: Buffer[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.#receive(call, 'all')) {
        if (message.sequence !== sequence) continue;
        if ((message.flags & Flag.interrupted) !== 0) interrupted = true;
        if (message.type === Kind.done) return { entries, interrupted };
        if (message.type === Kind.error) {
          throwError(message, call, 'all');
          return { entries, interrupted };
        }
        entries.push(Buffer.from(message.body));
      }
    }
  }

  /** Throws away what has come on a socket that listens, so that `fd` is readable for what comes next. */
  drain(): void {
    for (;;) {
      if (Number(cRecv(this.fd, this.#buffer, this.#buffer.length, MSG_DONTWAIT)) !== -1) continue;
      const errno = lastErrno();
      // ENOBUFS: more came than the socket holds; it is told once, and something has changed all the same.
      if (errno === constants.errno.ENOBUFS || errno === constants.errno.EINTR) continue;
      if (errno === constants.errno.EAGAIN) return;
      throw new SysError(errno, 'recv', 'a netlink socket');
    }
  }

  #send(type: number, flags: number, body: Buffer, call: string, subject: string): number {
    const sequence = ++this.#sequence;
    const message = encodeMessage(type, flags, sequence, body);
    check(Number(cSend(this.fd, message, message.length, 0)), call, subject);
    return sequence;
  }

  // The kernel answers before send(2) returns, so nothing is waited for.
  #receive(call: string, subject: string): Message[] {
    for (;;) {
      const count = Number(cRecv(this.fd, this.#buffer, this.#buffer.length, 0));
      if (count >= 0) return [...decodeMessages(this.#buffer.subarray(0, count))];
      const errno = lastErrno();
      if (errno !== constants.errno.EINTR) throw new SysError(errno, call, subject);
    }
  }

  close(): void {
    close(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** struct nlmsgerr { int error; … }: a negative errno, or 0 for done. */
function throwError({ body }: Message, call: string, subject: string): void {
  const errno = -body.readInt32LE(0);
  if (errno !== 0) throw new SysError(errno, call, subject);
}
