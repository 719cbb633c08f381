/**
 * Values by time in buckets of one width. When there are too many, two become one: memory is bounded, and the width is
 * as small as it can be. Buckets without values take nothing.
 */
import type { Columns } from './data.ts';

/** How two values of a column become one. */
export type Merge = (earlier: number, later: number) => number;
export const sum: Merge = (earlier, later) => earlier + later;
export const last: Merge = (_earlier, later) => later;
export const most: Merge = Math.max;

const FIRST_WIDTH_NS = 1e6;

export class Series<Name extends string> {
  readonly #merges: readonly (readonly [Name, Merge])[];
  readonly #columns: number[][];
  #index: number[] = [];
  #widthNs = FIRST_WIDTH_NS;
  #mostBuckets: number;

  constructor(merges: Readonly<Record<Name, Merge>>, mostBuckets: number) {
    this.#merges = Object.entries<Merge>(merges) as [Name, Merge][];
    this.#columns = this.#merges.map(() => []);
    this.#mostBuckets = mostBuckets;
  }

  /** In the order of the columns. A time before the last one (a clock was set between two sections) counts as that. */
  add(timeNs: number, ...values: readonly number[]): void {
    const index = Math.max(Math.floor(timeNs / this.#widthNs), this.#index.at(-1) ?? 0);
    if (this.#index.at(-1) === index) {
      const at = this.#index.length - 1;
      for (const [column, [, merge]] of this.#merges.entries()) {
        const list = this.#columns[column] as number[];
        list[at] = merge(list[at] as number, values[column] as number);
      }
      return;
    }
    this.#index.push(index);
    for (const [column, list] of this.#columns.entries()) list.push(values[column] as number);
    while (this.#index.length > this.#mostBuckets) this.#halve();
  }

  limit(mostBuckets: number): void {
    this.#mostBuckets = mostBuckets;
    while (this.#index.length > mostBuckets) this.#halve();
  }

  #halve(): void {
    this.#widthNs *= 2;
    let kept = -1;
    const index: number[] = [];
    for (const [at, old] of this.#index.entries()) {
      const half = Math.floor(old / 2);
      const same = index.at(-1) === half;
      if (!same) {
        index.push(half);
        kept++;
      }
      for (const [column, [, merge]] of this.#merges.entries()) {
        const list = this.#columns[column] as number[];
        const value = list[at] as number;
        list[kept] = same ? merge(list[kept] as number, value) : value;
      }
    }
    this.#index = index;
    for (const list of this.#columns) list.length = index.length;
  }

  columns(): Columns<Name> {
    const widthMs = this.#widthNs / 1e6;
    const columns = Object.fromEntries(
      this.#merges.map(([name], column) => [name, (this.#columns[column] as number[]).map(rounded)]),
    ) as Record<Name, number[]>;
    return { widthMs, at: this.#index.map((index) => rounded(index * widthMs)), ...columns } as Columns<Name>;
  }
}

/** To a thousandth: a page has no use for more digits. */
export function rounded(value: number): number {
  return Math.round(value * 1000) / 1000;
}

/** Spans of time; when there are too many, those that are close together become one. */
export class Spans {
  #spans: [number, number][] = [];
  #gapNs = 0;
  static readonly #most = 128;

  add(fromNs: number, toNs: number): void {
    const before = this.#spans.at(-1);
    if (before !== undefined && fromNs - before[1] <= this.#gapNs) before[1] = Math.max(before[1], toNs);
    else this.#spans.push([fromNs, toNs]);
    while (this.#spans.length > Spans.#most) this.#join();
  }

  #join(): void {
    this.#gapNs = Math.max(1e6, 2 * this.#gapNs);
    const joined: [number, number][] = [];
    for (const span of this.#spans) {
      const before = joined.at(-1);
      if (before !== undefined && span[0] - before[1] <= this.#gapNs)
        before[1] = Math.max(before[1], span[1]);
      else joined.push(span);
    }
    this.#spans = joined;
  }

  inMs(): [number, number][] {
    return this.#spans.map(([from, to]) => [rounded(from / 1e6), rounded(to / 1e6)]);
  }
}
