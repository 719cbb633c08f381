/**
 * Command-line flags as runc takes them (Go's flag package and urfave/cli): a value may follow as the next
 * argument even when it starts with a dash, and booleans may be written as `--flag=true`. parseArgs of
 * node:util wants neither, so arguments are brought into its form first.
 */
import { parseArgs } from 'node:util';
import { UsageError } from './errors.ts';

export interface OptionSpec {
  readonly type: 'string' | 'boolean';
  readonly short?: string;
  readonly multiple?: boolean;
  /** What the value is called in the usage text, such as DIR. */
  readonly value?: string;
  readonly help: string;
}
export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

type ValueOf<S extends OptionSpec> = S extends { type: 'boolean' }
  ? boolean | undefined
  : S extends { multiple: true }
    ? string[] | undefined
    : string | undefined;
export type OptionValues<S extends OptionSpecs> = { readonly [K in keyof S]: ValueOf<S[K]> };

export interface Parsed<S extends OptionSpecs> {
  readonly values: OptionValues<S>;
  readonly positionals: readonly string[];
}

/**
 * @param stopAtPositional everything from the first argument that is no flag belongs to somebody else: the
 *   command's own arguments, or the program that `exec` runs
 * @throws UsageError with runc's wording
 */
export function parseOptions<const S extends OptionSpecs>(
  args: readonly string[],
  specs: S,
  { stopAtPositional = false } = {},
): Parsed<S> {
  const { flags, rest } = normalise(args, specs, stopAtPositional);
  const options = Object.fromEntries(
    Object.entries(specs).map(([name, { type, multiple }]) => [name, { type, multiple: multiple === true }]),
  );
  const { values } = parseArgs({ args: flags, options, strict: true, allowPositionals: false });
  return { values: { ...values } as unknown as OptionValues<S>, positionals: rest };
}

function normalise(args: readonly string[], specs: OptionSpecs, stopAtPositional: boolean) {
  const flags: string[] = [];
  const rest: string[] = [];
  for (let i = 0; i < args.length; i++) {
    const arg = args[i]!;
    if (arg === '--') {
      rest.push(...args.slice(i + 1));
      break;
    }
    if (!arg.startsWith('-') || arg === '-') {
      if (stopAtPositional) {
        rest.push(...args.slice(i));
        break;
      }
      rest.push(arg);
      continue;
    }
    const [, written = '', given] = /^--?([^=]*)(?:=(.*))?$/s.exec(arg) ?? [];
    const [name, spec] = find(written, specs);
    if (spec.type === 'boolean') {
      if (given === undefined || isTrue(given)) flags.push(`--${name}`);
      else if (!isFalse(given)) {
        throw new UsageError(`invalid boolean value "${given}" for -${written}: give true or false`);
      }
      continue;
    }
    const value = given ?? args[++i];
    if (value === undefined) throw new UsageError(`flag needs an argument: -${written}`);
    flags.push(`--${name}=${value}`);
  }
  return { flags, rest };
}

function find(written: string, specs: OptionSpecs): [string, OptionSpec] {
  const entry = Object.entries(specs).find(([name, { short }]) => name === written || short === written);
  if (entry === undefined) throw new UsageError(`flag provided but not defined: -${written}`);
  return entry;
}

// The words of Go's strconv.ParseBool.
const isTrue = (text: string) => ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text);
const isFalse = (text: string) => ['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text);

/** The table of flags for a usage text. */
export function describeOptions(specs: OptionSpecs): string {
  const rows = Object.entries(specs).map(([name, { short, type, value, help }]) => {
    const word = type === 'string' ? ` ${value ?? 'VALUE'}` : '';
    return [`   --${name}${word}${short === undefined ? '' : `, -${short}${word}`}`, help] as const;
  });
  const width = Math.max(0, ...rows.map(([left]) => left.length));
  return rows.map(([left, help]) => `${left.padEnd(width)}  ${help}\n`).join('');
}
