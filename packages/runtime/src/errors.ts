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

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Ends the command with a code and no further word: what there was to say has been said. */
export class QuietExit extends CliError {
  constructor(exitCode: number) {
    super('', { exitCode });
  }
}
