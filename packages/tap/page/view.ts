/** The time that all charts show: the whole capture, or what was selected in one of them. */
import { formatSpan } from '../src/words/text.ts';
import { h, percent } from './dom.ts';

export class View {
  readonly wholeMs: number;
  fromMs = 0;
  toMs: number;
  readonly #listeners: (() => void)[] = [];

  constructor(endMs: number) {
    // A little room behind the last frame; and a capture of one instant has a width, too.
    this.wholeMs = Math.max(endMs * 1.01, 1);
    this.toMs = this.wholeMs;
  }

  get spanMs(): number {
    return this.toMs - this.fromMs;
  }
  get isWhole(): boolean {
    return this.fromMs === 0 && this.toMs === this.wholeMs;
  }

  /** 0 to 1 is within the view. */
  place(ms: number): number {
    return (ms - this.fromMs) / this.spanMs;
  }

  set(fromMs: number, toMs: number): void {
    const least = Math.max(this.wholeMs / 1e6, 0.01);
    if (toMs - fromMs < least) return;
    this.fromMs = Math.max(0, fromMs);
    this.toMs = Math.min(this.wholeMs, toMs);
    for (const listener of this.#listeners) listener();
  }

  whole(): void {
    this.set(0, this.wholeMs);
  }

  /** Now, and whenever another time is shown. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
    listener();
  }

  /** Something that can be dragged over to see that time alone; a double click shows the whole. */
  selectable(track: HTMLElement): void {
    const mark = h('div', { class: 'selection', hidden: true });
    track.append(mark);
    const at = (event: PointerEvent): number => {
      const { left, width } = track.getBoundingClientRect();
      return Math.min(1, Math.max(0, (event.clientX - left) / width));
    };
    let from: number | undefined;
    track.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return;
      from = at(event);
      track.setPointerCapture(event.pointerId);
    });
    track.addEventListener('pointermove', (event) => {
      if (from === undefined) return;
      const to = at(event);
      mark.hidden = Math.abs(to - from) < 0.005;
      mark.style.left = percent(Math.min(from, to));
      mark.style.width = percent(Math.abs(to - from));
    });
    track.addEventListener('pointerup', (event) => {
      if (from === undefined) return;
      const [low, high] = [from, at(event)].sort((a, b) => a - b) as [number, number];
      from = undefined;
      mark.hidden = true;
      if (high - low > 0.005) this.set(this.fromMs + low * this.spanMs, this.fromMs + high * this.spanMs);
    });
    track.addEventListener('dblclick', () => this.whole());
  }
}

/** "+1.2 s", where `aroundMs` says which digits matter. */
export function offsetText(ms: number, aroundMs: number): string {
  if (ms === 0) return '0';
  if (aroundMs < 1) return `+${ms.toFixed(3)} ms`;
  if (aroundMs < 2000) return ms < 1000 ? `+${trimmed(ms, 1)} ms` : `+${trimmed(ms / 1000, 4)} s`;
  if (ms < 120_000) return `+${trimmed(ms / 1000, 2)} s`;
  return `+${formatSpan(ms * 1e6)}`;
}

/** To the millisecond, for columns of them: "0.312 s", "1:02:03.456". */
export function clockText(ms: number): string {
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds.toFixed(3)} s`;
  const hours = Math.floor(seconds / 3600);
  const minutes = String(Math.floor(seconds / 60) % 60);
  const rest = (seconds % 60).toFixed(3).padStart(6, '0');
  return hours > 0 ? `${hours}:${minutes.padStart(2, '0')}:${rest}` : `${minutes}:${rest}`;
}

function trimmed(value: number, digits: number): string {
  return value.toFixed(digits).replace(/\.?0+$/, '');
}

/** Round places for an axis. */
export function ticks(view: View, most: number): number[] {
  const rough = view.spanMs / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const found: number[] = [];
  for (let at = Math.ceil(view.fromMs / step) * step; at <= view.toMs; at += step)
    found.push(Math.round(at * 1e6) / 1e6);
  return found;
}

/** An axis that follows the view. */
export function axis(view: View, most = 8): HTMLElement {
  const line = h('div', { class: 'axis', attributes: { 'aria-hidden': 'true' } });
  view.onChange(() => {
    line.replaceChildren(
      ...ticks(view, most)
        .filter((ms) => view.place(ms) < 0.97)
        .map((ms) => h('span', { style: { left: percent(view.place(ms)) } }, offsetText(ms, view.spanMs))),
    );
  });
  return line;
}
