/** What was measured, beside its baseline and its target, as a table or as JSON. */
import { median, quantile } from './statistics.ts';

export type Unit = 'ms' | 'MB' | 'MB/s' | 'MiB/s' | 'KiB' | 'MiB';

export interface Row {
  readonly name: string;
  readonly unit: Unit;
  readonly samples: readonly number[];
  /** Measured in the same run, in the same unit. */
  readonly baseline?: { readonly name: string; readonly samples: readonly number[] };
  readonly target?: {
    /** As issue 2 says it. */
    readonly text: string;
    /** For the median. */
    readonly atMost?: number;
    readonly atLeast?: number;
  };
  readonly note?: string;
}

export function reached({ samples, target }: Row): boolean | undefined {
  if (target === undefined) return undefined;
  const value = median(samples);
  return value <= (target.atMost ?? Number.POSITIVE_INFINITY) && value >= (target.atLeast ?? 0);
}

export function rowAsJson(row: Row): object {
  const { name, unit, samples, baseline, target, note } = row;
  return {
    name,
    unit,
    ...summary(samples),
    ...(baseline && { baseline: { name: baseline.name, ...summary(baseline.samples) } }),
    ...(baseline && { ratio: median(samples) / median(baseline.samples) }),
    ...(target && { target: { ...target, reached: reached(row) } }),
    ...(note !== undefined && { note }),
  };
}

function summary(samples: readonly number[]): object {
  const [min, max] = [Math.min(...samples), Math.max(...samples)];
  return { count: samples.length, median: median(samples), min, max, p99: quantile(samples, 0.99) };
}

const colour = process.stdout.isTTY && process.env.NO_COLOR === undefined;
const paint = (code: number, text: string): string => (colour ? `\x1b[${code}m${text}\x1b[0m` : text);

const WIDTHS = [38, 18, 22, 18, 7] as const;
const HEAD = ['', 'median', 'min – max', 'baseline', 'ratio', 'target'];

export function printHead(title: string): void {
  console.log(`\n${paint(1, title)}`);
  console.log(paint(2, line(HEAD)));
}

export function printRow(row: Row): void {
  const { name, unit, samples, baseline, target, note } = row;
  const made = reached(row);
  const verdict =
    target === undefined ? '' : `${made ? paint(32, '✔') : paint(31, '✘ missed')} ${target.text}`;
  console.log(
    line([
      name,
      `${number(median(samples))} ${unit}`,
      samples.length > 1 ? `${number(Math.min(...samples))} – ${number(Math.max(...samples))}` : '',
      baseline === undefined ? '' : `${number(median(baseline.samples))} ${unit}`,
      baseline === undefined ? '' : (median(samples) / median(baseline.samples)).toFixed(2),
      verdict,
    ]),
  );
  if (note !== undefined) console.log(paint(2, `    ${note}`));
}

function line(cells: readonly string[]): string {
  return cells
    .map((cell, index) => {
      const width = WIDTHS[index];
      if (width === undefined) return cell;
      return index === 0 ? `  ${cell.padEnd(width)}` : cell.padStart(width);
    })
    .join('  ')
    .trimEnd();
}

function number(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}
