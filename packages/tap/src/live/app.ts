/** What the keys do: which page is shown, what is chosen, filtered, folded and frozen. */
import type { StreamTail } from './contents.ts';
import type { Feed } from './feed.ts';
import { drawList, type ListState, visibleRows } from './list-view.ts';
import type { Key } from './operator-terminal.ts';
import { Rates } from './rates.ts';
import { Screen, type Size } from './screen.ts';
import { countersOf, type Row, type Snapshot, takeSnapshot } from './snapshot.ts';
import { drawStream, type StreamMode, StreamTerminal, streamModes } from './stream-view.ts';

interface Opened {
  /** As it was seen last: its process may be gone. */
  row: Row;
  mode: StreamMode;
  scroll: number;
  tail: StreamTail | undefined;
  terminal: StreamTerminal | undefined;
}

export class App {
  readonly #feed: Feed;
  readonly #rates = new Rates();
  readonly #changed: () => void;
  #snapshot: Snapshot;
  #list: ListState = {
    selected: undefined,
    folded: new Set(),
    filter: '',
    typing: false,
    frozen: false,
    all: false,
  };
  #opened: Opened | undefined;
  #rowsOnPage = 1;

  /** @param changed called when there is something new to draw */
  constructor(feed: Feed, changed: () => void) {
    this.#feed = feed;
    this.#changed = changed;
    this.#snapshot = takeSnapshot(feed, this.#rates, false);
  }

  /** Looks at the feed: to be called every SAMPLE_MS. */
  tick(): void {
    this.#rates.sample(countersOf(this.#feed));
    if (!this.#list.frozen) this.#look();
  }

  draw(size: Size): Screen {
    const screen = new Screen(size);
    this.#rowsOnPage = Math.max(1, size.rows - 8);
    const opened = this.#opened;
    if (opened === undefined) drawList(screen, this.#snapshot, this.#list);
    else
      drawStream(screen, {
        ...opened,
        frozen: this.#list.frozen,
        payload: this.#feed.payload,
      });
    return screen;
  }

  /** @returns true when it is to end */
  key(key: Key): boolean {
    if (key.ctrl && key.name === 'c') return true;
    if (this.#list.typing) this.#typed(key);
    else if (key.name === 'q') return true;
    else if (key.name === 'f') this.#freeze();
    else if (this.#opened === undefined) this.#listKeys[key.name]?.();
    else this.#streamKeys[key.name]?.(this.#opened);
    this.#changed();
    return false;
  }

  #look(): void {
    this.#snapshot = takeSnapshot(this.#feed, this.#rates, this.#list.all);
    this.#choose(0);
    const opened = this.#opened;
    if (opened === undefined) return;
    opened.row = this.#snapshot.rows.find(({ key }) => key === opened.row.key) ?? opened.row;
    const { opens } = opened.row;
    if (opens === undefined) return;
    opened.tail = this.#feed.contents.of(opens.sandbox, opens.streamId);
    if (opened.tail === undefined) return;
    if (opened.mode === 'screen')
      opened.terminal ??= new StreamTerminal(opened.tail, opens.size, () => this.#changed());
    opened.terminal?.resize(opens.size);
    opened.terminal?.follow(opened.tail);
  }

  #freeze(): void {
    this.#set({ frozen: !this.#list.frozen });
    if (!this.#list.frozen) this.#look();
    // What comes meanwhile goes elsewhere.
    else if (this.#opened?.tail !== undefined) this.#opened.tail = this.#opened.tail.copy();
  }

  #set(changes: Partial<ListState>): void {
    this.#list = { ...this.#list, ...changes };
  }

  #typed(key: Key): void {
    const { filter } = this.#list;
    if (key.name === 'return' || key.name === 'enter') this.#set({ typing: false });
    else if (key.name === 'escape') this.#set({ typing: false, filter: '' });
    else if (key.name === 'backspace') this.#set({ filter: filter.slice(0, -1) });
    else if (key.text.length === 1 && key.text >= ' ') this.#set({ filter: filter + key.text });
    this.#choose(0);
  }

  readonly #listKeys: Readonly<Record<string, () => void>> = {
    up: () => this.#choose(-1),
    k: () => this.#choose(-1),
    down: () => this.#choose(1),
    j: () => this.#choose(1),
    pageup: () => this.#choose(-this.#rowsOnPage),
    pagedown: () => this.#choose(this.#rowsOnPage),
    home: () => this.#choose(Number.NEGATIVE_INFINITY),
    end: () => this.#choose(Number.POSITIVE_INFINITY),
    left: () => this.#fold(true),
    right: () => this.#fold(false),
    n: () => this.#chooseStuck(),
    '/': () => this.#set({ typing: true }),
    escape: () => this.#set({ filter: '' }),
    a: () => {
      this.#set({ all: !this.#list.all });
      if (!this.#list.frozen) this.#look();
    },
    return: () => this.#open(),
    enter: () => this.#open(),
  };

  readonly #streamKeys: Readonly<Record<string, (opened: Opened) => void>> = {
    escape: () => this.#close(),
    backspace: () => this.#close(),
    left: () => this.#close(),
    tab: (opened) => {
      opened.mode = streamModes[(streamModes.indexOf(opened.mode) + 1) % streamModes.length] as StreamMode;
      opened.scroll = 0;
      if (!this.#list.frozen) this.#look();
    },
    up: (opened) => scroll(opened, 1),
    k: (opened) => scroll(opened, 1),
    down: (opened) => scroll(opened, -1),
    j: (opened) => scroll(opened, -1),
    pageup: (opened) => scroll(opened, this.#rowsOnPage),
    pagedown: (opened) => scroll(opened, -this.#rowsOnPage),
    end: (opened) => scroll(opened, Number.NEGATIVE_INFINITY),
  };

  #close(): void {
    this.#opened = undefined;
  }

  /** Moves by so many rows; with 0 only makes sure that one is chosen. */
  #choose(by: number): void {
    const rows = visibleRows(this.#snapshot, this.#list);
    const at = rows.findIndex(({ key }) => key === this.#list.selected);
    const next = Math.max(0, Math.min(rows.length - 1, at < 0 ? 0 : at + by));
    this.#set({ selected: rows[next]?.key });
  }

  #chooseStuck(): void {
    const rows = visibleRows(this.#snapshot, this.#list);
    const at = rows.findIndex(({ key }) => key === this.#list.selected);
    const isStuck = ({ level }: Row): boolean => level === 'problem';
    const next = rows.slice(at + 1).find(isStuck) ?? rows.find(isStuck);
    if (next !== undefined) this.#set({ selected: next.key });
  }

  /** A row that has no parts folds what it is part of. */
  #fold(fold: boolean): void {
    const { selected, folded } = this.#list;
    if (selected === undefined) return;
    const parent = selected.slice(0, Math.max(0, selected.lastIndexOf('\0')));
    const key =
      fold && parent !== '' && (folded.has(selected) || this.#isStream(selected)) ? parent : selected;
    const next = new Set(folded);
    if (fold) next.add(key);
    else next.delete(key);
    this.#set({ folded: next, selected: key });
  }

  #isStream(key: string): boolean {
    return this.#snapshot.rows.find((row) => row.key === key)?.kind === 'stream';
  }

  #open(): void {
    const { rows } = this.#snapshot;
    const { selected } = this.#list;
    // Of a process its output.
    const row =
      rows.find(({ key }) => key === `${selected}\0stdout`) ?? rows.find(({ key }) => key === selected);
    if (row === undefined) return;
    if (row.opens === undefined) {
      this.#fold(!this.#list.folded.has(row.key));
      return;
    }
    const tail = this.#feed.contents.of(row.opens.sandbox, row.opens.streamId);
    const mode = row.opens.size === undefined || row.name === 'stdin' ? 'text' : 'screen';
    this.#opened = { row, mode, scroll: 0, tail, terminal: undefined };
    if (!this.#list.frozen) this.#look();
  }
}

function scroll(opened: Opened, by: number): void {
  opened.scroll = Math.max(0, opened.scroll + by);
}
