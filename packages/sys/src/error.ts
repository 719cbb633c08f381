import { constants } from 'node:os';
import { getSystemErrorMap } from 'node:util';

const NAMES = new Map(Object.entries(constants.errno).map(([name, number]) => [number, name]));
// EAGAIN and EWOULDBLOCK, ENOTSUP and EOPNOTSUPP share a number; the message should show the usual name.
NAMES.set(constants.errno.EAGAIN, 'EAGAIN').set(constants.errno.EOPNOTSUPP, 'EOPNOTSUPP');

/** The name of an errno number ('ENOENT'), or 'E123' where Node has no name for it. */
export function errnoName(errno: number): string {
  return NAMES.get(errno) ?? `E${errno}`;
}

function errnoText(errno: number): string {
  return getSystemErrorMap().get(-errno)?.[1] ?? 'unknown error';
}

/**
 * A system call that failed. Match on `code`, not on the class: two copies of this package can be loaded.
 */
export class SysError extends Error {
  override readonly name = 'SysError';
  /** The errno's name, such as 'EAGAIN'. */
  readonly code: string;
  /** The positive errno number. */
  readonly errno: number;
  /** The call that failed, such as 'mount'. */
  readonly syscall: string;
  /** What it was done on: a path, 'descriptor 7', 'process 12'. */
  readonly subject: string;

  /** @param hint what to do about it, where that is known */
  constructor(errno: number, syscall: string, subject: string, hint?: string) {
    const code = errnoName(errno);
    super(
      `${syscall} on ${subject} failed: ${errnoText(errno)} (${code})${hint === undefined ? '' : `; ${hint}`}`,
    );
    this.code = code;
    this.errno = errno;
    this.syscall = syscall;
    this.subject = subject;
  }
}

/** Whether an error (ours or Node's) carries this errno name. */
export function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code;
}
