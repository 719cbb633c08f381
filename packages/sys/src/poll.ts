/**
 * Readiness of any pollable descriptor in Node's event loop (libuv's uv_poll_t, through koffi).
 *
 * With `read` and `write` of `fd.ts` this is the way to use a descriptor whose bytes must be taken exactly as
 * far as there is room for them: nothing is read ahead, and nothing is allocated.
 */
import { constants } from 'node:os';
import { SysError } from './error.ts';
import { type Koffi, koffi } from './koffi.ts';
import { libc } from './libc.ts';

export interface Interest {
  readonly readable?: boolean;
  readonly writable?: boolean;
}

export interface Readiness {
  readonly readable: boolean;
  readonly writable: boolean;
}

const cPoll = libc('int poll(void *fds, unsigned long count, int timeout)');

/** asm-generic/poll.h */
export const POLLIN = 0x001;
export const POLLOUT = 0x004;
export const POLLERR = 0x008;
export const POLLHUP = 0x010;
export const POLLNVAL = 0x020;

// struct pollfd { int fd; short events; short revents; } (asm-generic/poll.h)
const pollfd = Buffer.alloc(8);

/** poll(2) on one descriptor without waiting: the revents, as a mask of POLLIN, POLLHUP… */
export function pollNow(fd: number, events: number): number {
  pollfd.writeInt32LE(fd, 0);
  pollfd.writeInt16LE(events, 4);
  pollfd.writeInt16LE(0, 6);
  cPoll(pollfd, 1, 0);
  const revents = pollfd.readUInt16LE(6);
  if (revents & POLLNVAL) throw new SysError(constants.errno.EBADF, 'poll', `descriptor ${fd}`);
  return revents;
}

const watched = new Set<number>();

/**
 * Watches a descriptor; level-triggered: the callback comes again in each turn of the event loop while the
 * descriptor stays ready and the interest stays set. Neither interest set means: not watched, and the event
 * loop not held open.
 *
 * A hang-up or an error on the descriptor is reported as both kinds of readiness that are wanted; the read or
 * write then says what it is. Such a descriptor is ready all the time, so whoever is told 'again' although it has
 * hung up (a virtio port without host, a pty whose slave is closed) drops that interest, or the loop spins.
 * The descriptor stays the caller's, who closes it after `close()`.
 * A descriptor may have one watch, and no net.Socket beside it.
 */
export class Watch {
  readonly fd: number;
  readonly #callback: (ready: Readiness) => void;
  #handle: ReturnType<Koffi['node']['poll']> | undefined;
  #closed = false;
  #readable = false;
  #writable = false;

  constructor(fd: number, interest: Interest, callback: (ready: Readiness) => void) {
    this.fd = fd;
    this.#callback = callback;
    this.change(interest);
  }

  /**
   * Replaces the interest; cheap when it does not change.
   * @throws SysError 'EPERM' for what cannot be polled (a regular file, /dev/null), 'EBADF', 'EEXIST'
   */
  change(interest: Interest): void {
    if (this.#closed)
      throw new SysError(constants.errno.EBADF, 'poll', `closed watch of descriptor ${this.fd}`);
    const readable = interest.readable === true;
    const writable = interest.writable === true;
    if (readable === this.#readable && writable === this.#writable) return;
    this.#readable = readable;
    this.#writable = writable;
    if (!readable && !writable) {
      this.#handle?.stop();
      return;
    }
    this.#start();
  }

  #start(): void {
    const events = { readable: this.#readable, writable: this.#writable, disconnect: false };
    if (this.#handle !== undefined) {
      this.#handle.start(events, this.#onPoll);
      return;
    }
    // koffi ends the process when libuv refuses a descriptor, so both its reasons are looked for here.
    try {
      if (watched.has(this.fd)) {
        throw new SysError(constants.errno.EEXIST, 'poll', `descriptor ${this.fd}`, 'it is watched already');
      }
      assertPollable(this.fd);
    } catch (error) {
      this.#readable = this.#writable = false;
      throw error;
    }
    this.#handle = koffi().node.poll(this.fd, events, this.#onPoll);
    watched.add(this.fd);
  }

  // libuv's arguments; koffi's type names only the second.
  readonly #onPoll = ((status: number, events: Readiness) => {
    if (this.#closed) return;
    if (status === 0) {
      this.#call(events);
      return;
    }
    // libuv turns a lone POLLERR (nobody reads the pipe any more) into EBADF and stops watching.
    // The interest is cleared to match, so that a caller who wants more starts it again.
    const ready = { readable: this.#readable, writable: this.#writable };
    this.#readable = this.#writable = false;
    this.#call(ready);
  }) as unknown as (ready: Readiness & { disconnect: boolean }) => void;

  #call(ready: Readiness): void {
    try {
      this.#callback(ready);
    } catch (error) {
      // koffi swallows what a callback throws; this makes it an uncaught exception, as anywhere in Node.
      process.nextTick(() => {
        throw error;
      });
    }
  }

  /** Whether the event loop stays alive for this watch (it does unless told otherwise). */
  ref(on: boolean): void {
    if (on) this.#handle?.ref();
    else this.#handle?.unref();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.#handle === undefined) return;
    this.#handle.close();
    watched.delete(this.fd);
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

const cEpollCreate1 = libc('int epoll_create1(int flags)');
const cEpollCtl = libc('int epoll_ctl(int epfd, int operation, int fd, void *event)');
const EPOLL_CLOEXEC = 0o2000000;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
let probe = -1;

/**
 * Asks the kernel whether epoll takes this descriptor. libuv asks too late for streams: it aborts the process.
 * @throws SysError 'EPERM' for a regular file, a folder or a device like /dev/null; 'EBADF'
 */
export function assertPollable(fd: number): void {
  if (probe === -1) probe = cEpollCreate1(EPOLL_CLOEXEC);
  // struct epoll_event, packed on x86-64: u32 events, u64 data (uapi/linux/eventpoll.h)
  if (cEpollCtl(probe, EPOLL_CTL_ADD, fd, Buffer.alloc(12)) === -1) {
    const hint =
      'the event loop cannot wait for it: it is a file or a device without poll; read it with node:fs';
    const errno = koffi().errno();
    throw new SysError(
      errno,
      'epoll_ctl',
      `descriptor ${fd}`,
      errno === constants.errno.EPERM ? hint : undefined,
    );
  }
  cEpollCtl(probe, EPOLL_CTL_DEL, fd, null);
}
