import { type ParseArgsConfig, parseArgs } from 'node:util';
import { ImageError } from '../errors.ts';

/** One command of coracle-image; main.ts has the table. */
export interface Command {
  readonly usage: string;
  readonly summary: string;
  /** For --help. */
  readonly options: Readonly<Record<string, string>>;
  /** What its exit codes mean besides those of every command. */
  readonly exitCodes?: string;
  /** Exit code when it fails; default 1. */
  readonly failedCode?: number;
  /** @returns the exit code. */
  run(args: string[], signal: AbortSignal): Promise<number>;
}

/**
 * Options by name, and exactly as many other arguments as there are names; those in brackets may be missing.
 * @throws ImageError `usage`
 */
export function parseCommand<const O extends NonNullable<ParseArgsConfig['options']>>(
  args: string[],
  names: readonly string[],
  options: O,
) {
  const { values, positionals } = parse(args, options);
  const needed = names.filter((name) => !name.startsWith('['));
  const missing = needed[positionals.length];
  if (missing !== undefined) throw new ImageError('usage', `${missing} is missing`);
  const extra = positionals[names.length];
  if (extra !== undefined) throw new ImageError('usage', `there is one argument too many: ${extra}`);
  return { values, positionals };
}

function parse<const O extends NonNullable<ParseArgsConfig['options']>>(args: string[], options: O) {
  try {
    return parseArgs({ args, allowPositionals: true, options });
  } catch (cause) {
    throw new ImageError('usage', (cause as Error).message, { cause });
  }
}

export const jsonOption = { json: { type: 'boolean', default: false } } as const;

export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

export function printLines(lines: readonly string[]): void {
  process.stdout.write(lines.map((line) => `${line}\n`).join(''));
}
