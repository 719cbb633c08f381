/** Terminal sessions that can be played. */
import { Terminal } from '@xterm/headless';
import type { SandboxData, TerminalData, TerminalEvent } from '../src/report/data.ts';
import { formatSpan } from '../src/words/text.ts';
import { h } from './dom.ts';
import { drawScreen } from './screen.ts';
import type { Search } from './search.ts';

/** A pause in a session takes no longer than that, where pauses are skipped. */
const LONGEST_PAUSE_MS = 800;
const MOST_COLUMNS = 500;
const MOST_ROWS = 200;

export function terminals({ terminals: all }: SandboxData, search: Search): HTMLElement | undefined {
  if (all.length === 0) return undefined;
  return h('section', {}, h('h3', {}, 'Terminals'), ...all.map((one) => card(one, search)));
}

function card(data: TerminalData, search: Search): HTMLElement {
  const { label, columns, rows, events, note } = data;
  const player = events === undefined ? undefined : new Player(data, events);
  const element = h(
    'article',
    { class: 'card terminal' },
    h('header', {}, h('h4', {}, label), h('span', { class: 'chip' }, `${columns} × ${rows}`)),
    player?.element,
    note !== '' && h('p', { class: 'note' }, note),
  );
  const text = (events ?? []).flatMap(([, code, words]) => (code === 'o' ? [words] : [])).join('');
  search.element(element, `${label} terminal ${plain(text)}`);
  return element;
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const SEQUENCES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)/g;

/** Without what a terminal would obey. */
function plain(text: string): string {
  return text.replaceAll(SEQUENCES, '');
}

class Player {
  readonly element: HTMLElement;
  readonly #data: TerminalData;
  readonly #events: readonly TerminalEvent[];
  readonly #screen = h('div', { class: 'screen', role: 'img', label: 'Terminal' });
  readonly #button = h('button', { class: 'play', label: 'Play', on: { click: () => this.#toggle() } }, '▶');
  readonly #slider: HTMLInputElement;
  readonly #clock = h('span', { class: 'clock' });
  readonly #speed = h(
    'select',
    { label: 'Speed' },
    ...[1, 2, 4, 16].map((times) => h('option', { attributes: { value: times } }, `${times}×`)),
  );
  readonly #skip = h('input', { attributes: { type: 'checkbox', checked: '' } });
  #terminal!: Terminal;
  /** How many events the terminal has been given. */
  #next = 0;
  #atMs: number;
  #playing = false;

  constructor(data: TerminalData, events: readonly TerminalEvent[]) {
    this.#data = data;
    this.#events = events;
    this.#slider = h('input', {
      label: 'Time',
      attributes: { type: 'range', min: 0, max: Math.max(1, this.#lengthMs), step: 1 },
    });
    // The end of a session tells most of it.
    this.#atMs = this.#lengthMs;
    this.#slider.addEventListener('input', () => {
      this.#atMs = Number(this.#slider.value);
      void this.#show();
    });
    this.#reset();
    this.element = h(
      'div',
      { class: 'player' },
      h('div', { class: 'glass' }, this.#screen),
      h(
        'div',
        { class: 'controls' },
        this.#button,
        this.#slider,
        this.#clock,
        this.#speed,
        h('label', {}, this.#skip, 'skip pauses'),
      ),
    );
    void this.#show();
  }

  get #startMs(): number {
    return this.#events[0]?.[0] ?? 0;
  }
  get #lengthMs(): number {
    return (this.#events.at(-1)?.[0] ?? 0) - this.#startMs;
  }

  #reset(): void {
    const cols = Math.min(this.#data.columns, MOST_COLUMNS);
    const rows = Math.min(this.#data.rows, MOST_ROWS);
    this.#terminal = new Terminal({ cols, rows, scrollback: 0, allowProposedApi: true });
    this.#next = 0;
  }

  /** The screen as it was at the chosen time; going back begins anew. */
  async #show(): Promise<void> {
    const endMs = this.#startMs + this.#atMs;
    const given = this.#events[this.#next - 1];
    if (given !== undefined && given[0] > endMs) this.#reset();
    const terminal = this.#terminal;
    for (
      let event = this.#events[this.#next];
      event !== undefined && event[0] <= endMs;
      event = this.#events[this.#next]
    ) {
      this.#next++;
      if (event[1] === 'r') {
        // What was printed before has its place before the size changes.
        await written(terminal, '');
        if (terminal !== this.#terminal) return;
        resize(terminal, event[2]);
      } else terminal.write(event[2]);
    }
    await written(terminal, '');
    if (terminal !== this.#terminal) return;
    drawScreen(terminal, this.#screen);
    this.#screen.style.setProperty('--columns', String(terminal.cols));
    this.#slider.value = String(this.#atMs);
    this.#clock.textContent = `${formatSpan(this.#atMs * 1e6)} of ${formatSpan(this.#lengthMs * 1e6)}`;
  }

  #toggle(): void {
    this.#playing = !this.#playing;
    if (this.#playing && this.#atMs >= this.#lengthMs) this.#atMs = 0;
    this.#label();
    if (this.#playing) void this.#play();
  }

  #label(): void {
    this.#button.textContent = this.#playing ? '❚❚' : '▶';
    this.#button.setAttribute('aria-label', this.#playing ? 'Pause' : 'Play');
  }

  async #play(): Promise<void> {
    let before = performance.now();
    while (this.#playing && this.#atMs < this.#lengthMs) {
      await this.#show();
      const now = await nextFrame();
      this.#atMs = Math.min(this.#lengthMs, this.#atMs + (now - before) * Number(this.#speed.value));
      before = now;
      this.#skipPause();
    }
    if (!this.#playing) return;
    this.#playing = false;
    this.#label();
    await this.#show();
  }

  #skipPause(): void {
    const next = this.#events[this.#next];
    if (!this.#skip.checked || next === undefined) return;
    const wait = next[0] - this.#startMs - this.#atMs;
    if (wait > LONGEST_PAUSE_MS) this.#atMs += wait - LONGEST_PAUSE_MS;
  }
}

function resize(terminal: Terminal, size: string): void {
  const [columns = 0, rows = 0] = size.split('x').map(Number);
  if (columns > 0 && rows > 0) terminal.resize(Math.min(columns, MOST_COLUMNS), Math.min(rows, MOST_ROWS));
}

function written(terminal: Terminal, text: string): Promise<void> {
  return new Promise((resolve) => terminal.write(text, resolve));
}

function nextFrame(): Promise<number> {
  return new Promise((resolve) => requestAnimationFrame(resolve));
}
