/**
 * Advisory locks by flock(2): between processes and, since each lock opens the file itself, within one. The
 * kernel drops a lock when its holder dies, so none is ever stale.
 */
import { constants as fsConstants, fstatSync, openSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { hasCode, SysError } from './error.ts';
import { close } from './fd.ts';
import { lastErrno, libc } from './libc.ts';

const cFlock = libc('int flock(int fd, int operation)');

/** asm-generic/fcntl.h */
const LOCK_SH = 1;
const LOCK_EX = 2;
const LOCK_NB = 4;
const O_CLOEXEC = 0o2000000;
const { O_RDWR, O_CREAT } = fsConstants;

/** flock in a thread cannot be cancelled, so waiting is asking again, soon at first. */
const RETRY_FIRST_MS = 1;
const RETRY_LAST_MS = 25;

export interface LockOptions {
  /** A shared lock excludes only exclusive ones; exclusive unless false. */
  readonly exclusive?: boolean;
}

export class Lock {
  readonly path: string;
  #fd: number;

  constructor(path: string, fd: number) {
    this.path = path;
    this.#fd = fd;
  }

  /** Lets go; more than once is harmless. The file stays: removing it is the holder's business. */
  release(): void {
    if (this.#fd === -1) return;
    const fd = this.#fd;
    this.#fd = -1;
    close(fd);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

// A holder may remove the locked file (and its folder): a lock on a removed file excludes nobody.
function stillNames(path: string, fd: number): boolean {
  const ours = fstatSync(fd);
  const now = statSync(path, { throwIfNoEntry: false });
  return now !== undefined && now.ino === ours.ino && now.dev === ours.dev;
}

/**
 * Locks the file, made with mode 0600 if missing, or returns undefined if somebody else holds it.
 * @throws NodeJS.ErrnoException from opening, such as 'ENOENT' when the folder is missing
 */
export function tryLockFile(path: string, options: LockOptions = {}): Lock | undefined {
  const operation = (options.exclusive === false ? LOCK_SH : LOCK_EX) | LOCK_NB;
  for (;;) {
    const fd = openSync(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600);
    try {
      if (cFlock(fd, operation) !== 0) {
        const errno = lastErrno();
        close(fd);
        if (errno === constants.errno.EWOULDBLOCK) return undefined;
        if (errno === constants.errno.EINTR) continue;
        throw new SysError(errno, 'flock', path);
      }
      if (stillNames(path, fd)) return new Lock(path, fd);
      close(fd);
    } catch (error) {
      if (!(error instanceof SysError)) close(fd);
      throw error;
    }
  }
}

/**
 * The lock that whoever started us holds on the file, by its descriptor, which is ours from then on. Undefined
 * when the descriptor is no such thing; it is left alone then.
 */
export function adoptLock(path: string, fd: number): Lock | undefined {
  try {
    // Asking again is granted to who has it: the lock belongs to the open file, not to the process.
    return stillNames(path, fd) && cFlock(fd, LOCK_EX | LOCK_NB) === 0 ? new Lock(path, fd) : undefined;
  } catch (error) {
    if (hasCode(error, 'EBADF')) return undefined;
    throw error;
  }
}

/** Locks the file, waiting until it is free or the signal aborts (rejects with its reason). */
export async function lockFile(
  path: string,
  options: LockOptions & { signal?: AbortSignal } = {},
): Promise<Lock> {
  for (let waitMs = RETRY_FIRST_MS; ; waitMs = Math.min(waitMs * 2, RETRY_LAST_MS)) {
    options.signal?.throwIfAborted();
    const lock = tryLockFile(path, options);
    if (lock !== undefined) return lock;
    await delay(waitMs);
  }
}
