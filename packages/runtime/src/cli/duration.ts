import { UsageError } from './errors.ts';

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/**
 * A time as Go's time.ParseDuration takes it, such as `5s` or `1m30s`.
 * @returns milliseconds
 * @throws UsageError naming the flag
 */
export function parseDuration(text: string, flag: string): number {
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length === 0 || parts.map(([part]) => part).join('') !== text) {
    throw new UsageError(
      `invalid value ${JSON.stringify(text)} for --${flag}: give a time such as 5s or 500ms`,
    );
  }
  return parts.reduce((sum, [, amount, unit]) => sum + Number(amount) * unitsMs[unit!]!, 0);
}
