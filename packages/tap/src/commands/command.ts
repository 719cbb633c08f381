import { type ParseArgsConfig, parseArgs } from 'node:util';
import { TapError } from '../errors.ts';

/** One command of coracle-tap; main.ts has the table. */
export interface Command {
  readonly usage: string;
  readonly summary: string;
  /** For --help. */
  readonly options: Readonly<Record<string, string>>;
  /** What its exit codes mean besides those of every command. */
  readonly exitCodes?: string;
  /** @returns the exit code */
  run(args: string[], signal: AbortSignal): Promise<number>;
}

/**
 * Options by name, and as many other arguments as there are names; those in brackets may be missing, and a last one
 * that ends in `…` stands for any number.
 * @throws TapError usage
 */
export function parseCommand<const O extends NonNullable<ParseArgsConfig['options']>>(
  args: string[],
  names: readonly string[],
  options: O,
) {
  const { values, positionals } = parse(args, options);
  const missing = names.filter((name) => !name.startsWith('['))[positionals.length];
  if (missing !== undefined) throw new TapError('usage', `${missing} is missing`);
  const extra = names.at(-1)?.includes('…') ? undefined : positionals[names.length];
  if (extra !== undefined) throw new TapError('usage', `there is one argument too many: ${extra}`);
  return { values, positionals };
}

function parse<const O extends NonNullable<ParseArgsConfig['options']>>(args: string[], options: O) {
  try {
    return parseArgs({ args, allowPositionals: true, options });
  } catch (cause) {
    throw new TapError('usage', (cause as Error).message, { cause });
  }
}

export const jsonOption = { json: { type: 'boolean', default: false } } as const;

/** @throws TapError usage */
export function parseSize(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)([KMGT]?)(?:i?B)?$/.exec(text);
  if (match === null) throw new TapError('usage', `${option} needs a size like 100M or 1G, not ${text}`);
  return Math.floor(Number(match[1]) * 1024 ** ' KMGT'.indexOf(match[2] || ' '));
}

/** @throws TapError usage */
export function parseCount(text: string, option: string): number {
  if (!/^[1-9]\d{0,5}$/.test(text))
    throw new TapError('usage', `${option} needs a number from 1 on, not ${text}`);
  return Number(text);
}
