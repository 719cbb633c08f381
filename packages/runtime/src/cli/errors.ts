import { getSystemErrorMap } from 'node:util';

/**
 * What the command line reports. `message` is a whole sentence without the program's name; engines match on
 * some of runc's phrases in it ("does not exist", "not running"), so those are kept.
 */
export class CliError extends Error {
  override readonly name = 'CliError';
  /** 1 as runc for most, 126 and 127 for commands that may not run or are missing, 255 for a lost VM and exec. */
  readonly exitCode: number;

  constructor(message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? 1;
  }
}

/** A flag or argument that is wrong: the command's usage is shown with it, as runc does. */
export class UsageError extends CliError {}

export const ExitCode = {
  failed: 1,
  notExecutable: 126,
  notFound: 127,
  vmLost: 255,
} as const;

export function errnoCode(error: unknown): string | undefined {
  return error instanceof Error ? (error as NodeJS.ErrnoException).code : undefined;
}

/** What went wrong, for people: without Node's code words and calls, and without the link's codes. */
export function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { errno, syscall, reason } = error as NodeJS.ErrnoException & { reason?: unknown };
  if (error.name === 'RpcError' && typeof reason === 'string') return reason;
  // Node's own say "ENOENT: no such file or directory, stat '/x'"; the caller names what it was done on.
  if (error.name === 'Error' && errno !== undefined && syscall !== undefined) {
    return getSystemErrorMap().get(errno)?.[1] ?? error.message;
  }
  return error.message;
}

/** Ends the command with a code and no further word: what there was to say has been said. */
export class QuietExit extends CliError {
  constructor(exitCode: number) {
    super('', { exitCode });
  }
}
