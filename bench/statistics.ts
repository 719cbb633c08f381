/** Medians rather than means: a busy machine makes some samples slow and none fast. */

/** Nearest rank; 0 ≤ fraction ≤ 1. @throws RangeError without samples */
export function quantile(samples: readonly number[], fraction: number): number {
  const sorted = samples.toSorted((a, b) => a - b);
  const found = sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * fraction))];
  if (found === undefined) throw new RangeError('a quantile of no samples');
  return found;
}

export function median(samples: readonly number[]): number {
  const sorted = samples.toSorted((a, b) => a - b);
  return (quantile(sorted, 0.5) + (sorted[Math.ceil(sorted.length / 2) - 1] as number)) / 2;
}
