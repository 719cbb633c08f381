/** Curves over the view's time: an SVG that is stretched to its place, whatever that is, on a screen or on paper. */
import type { Columns } from '../src/report/data.ts';
import { h, s } from './dom.ts';
import type { View } from './view.ts';

export const WIDTH = 1000;
export const HEIGHT = 100;
/** Of a curve. */
export const SLOTS = 250;

/** Values of the view, in equal parts of it. */
export type Slots = Float64Array;

/** What happened is spread over the slots that its bucket covers. */
export function rates(columns: Columns<'bytes'>, view: View, slots = SLOTS): Slots {
  const values = new Float64Array(slots);
  const slotMs = view.spanMs / slots;
  for (const [at, fromMs] of columns.at.entries()) {
    const from = (fromMs - view.fromMs) / slotMs;
    const to = from + columns.widthMs / slotMs;
    if (to <= 0 || from >= slots) continue;
    const bytes = columns.bytes[at] as number;
    for (let slot = Math.max(0, Math.floor(from)); slot < Math.min(slots, to); slot++) {
      const share = (Math.min(to, slot + 1) - Math.max(from, slot)) / (to - from);
      values[slot] = (values[slot] as number) + (bytes * share) / slotMs;
    }
  }
  // Bytes per millisecond until here.
  return values.map((value) => value * 1000);
}

/** What holds until something else is said: `high` within a slot, `last` behind it. */
export function levels<Name extends string>(
  columns: Columns<Name>,
  high: readonly number[],
  last: readonly number[],
  view: View,
): Slots {
  const values = new Float64Array(SLOTS).fill(Number.NaN);
  const slotMs = view.spanMs / SLOTS;
  let bucket = 0;
  let held = Number.NaN;
  for (let slot = 0; slot < SLOTS; slot++) {
    const endMs = view.fromMs + (slot + 1) * slotMs;
    const startMs = endMs - slotMs;
    let value = held;
    for (; bucket < columns.at.length && (columns.at[bucket] as number) < endMs; bucket++) {
      const inSlot = (columns.at[bucket] as number) + columns.widthMs > startMs;
      held = last[bucket] as number;
      if (inSlot)
        value = Number.isNaN(value) ? (high[bucket] as number) : Math.max(value, high[bucket] as number);
      else value = held;
    }
    values[slot] = value;
  }
  return values;
}

export function highest(...all: readonly Slots[]): number {
  let most = 0;
  for (const values of all) for (const value of values) if (value > most) most = value;
  return most;
}

/** Steps from slot to slot. An area goes down to the ground, and is not drawn where there is nothing. */
export function path(values: Slots, most: number, area: boolean): string {
  const width = WIDTH / values.length;
  let line = '';
  let drawing = false;
  for (const [slot, value] of values.entries()) {
    const x = slot * width;
    if (Number.isNaN(value) || (area && value === 0)) {
      if (drawing && area) line += `V${HEIGHT}`;
      drawing = false;
      continue;
    }
    const y = short(most === 0 ? HEIGHT : HEIGHT - (value / most) * (HEIGHT - 4));
    if (drawing) line += `V${y}`;
    else line += area ? `M${short(x)} ${HEIGHT}V${y}` : `M${short(x)} ${y}`;
    drawing = true;
    line += `H${short(x + width)}`;
  }
  return drawing && area ? `${line}V${HEIGHT}` : line;
}

function short(value: number): string {
  return String(Math.round(value * 10) / 10);
}

export function canvas(...children: readonly Node[]): SVGSVGElement {
  return s(
    'svg',
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', class: 'curve', 'aria-hidden': 'true' },
    ...children,
  );
}

export interface PlotParts {
  readonly curves: readonly Node[];
  /** At the top of the scale. */
  readonly scale: string;
}

/** A plot with a title, redrawn when the view changes. */
export function plot(view: View, title: string, hint: string, draw: () => PlotParts): HTMLElement {
  const track = h('div', { class: 'track' });
  const scale = h('span', { class: 'scale' });
  view.onChange(() => {
    const parts = draw();
    track.querySelector('svg')?.remove();
    track.prepend(canvas(...parts.curves));
    scale.textContent = parts.scale;
  });
  view.selectable(track);
  return h('figure', { class: 'plot', title: hint }, h('figcaption', {}, title, scale), track);
}
