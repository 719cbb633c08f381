/** Sizes as people write them: `512m`, `1.5g`, `4096` (Docker's units.RAMInBytes: powers of 1024). */
import { UsageError } from './errors.ts';

const powers: Readonly<Record<string, number>> = { '': 0, k: 1, m: 2, g: 3, t: 4, p: 5 };

/** @throws UsageError naming the flag */
export function parseBytes(text: string, flag: string): number {
  const [, amount, unit = ''] = /^(\d+(?:\.\d+)?) ?([kmgtp]?)(?:i?b)?$/i.exec(text.trim()) ?? [];
  const power = powers[unit.toLowerCase()];
  if (amount === undefined || power === undefined) {
    throw new UsageError(
      `invalid value for ${flag}: ${JSON.stringify(text)} is not a size such as 512m or 1073741824`,
    );
  }
  return Math.floor(Number(amount) * 1024 ** power);
}
