import { CliError } from './errors.ts';

/** The whole number that a flag was given. @throws CliError */
export function count(flag: string, text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new CliError(`invalid value ${JSON.stringify(text)} for --${flag}: give a whole number`);
}
