/** A long list: its beginning, and more on request. A search looks through all of it. */
import { h } from './dom.ts';
import type { Searched } from './search.ts';

export class More<Item> {
  readonly element: HTMLElement;
  readonly #items: readonly Item[];
  readonly #atFirst: number;
  readonly #make: (item: Item) => HTMLElement;
  readonly #made = new Map<Item, HTMLElement>();
  readonly #list = h('div', { class: 'list' });
  readonly #button: HTMLButtonElement;
  readonly #what: string;
  #shown: number;
  #wanted: readonly Item[];

  constructor(items: readonly Item[], atFirst: number, what: string, make: (item: Item) => HTMLElement) {
    this.#items = this.#wanted = items;
    this.#atFirst = this.#shown = atFirst;
    this.#make = make;
    this.#what = what;
    this.#button = h('button', { class: 'more', on: { click: () => this.#grow() } });
    this.element = h('div', {}, this.#list, this.#button);
    this.#draw();
  }

  #grow(): void {
    this.#shown += 5 * this.#atFirst;
    this.#draw();
  }

  #draw(): void {
    const elements = this.#wanted.slice(0, this.#shown).map((item) => {
      const element = this.#made.get(item) ?? this.#make(item);
      this.#made.set(item, element);
      return element;
    });
    this.#list.replaceChildren(...elements);
    const left = this.#wanted.length - elements.length;
    this.#button.hidden = left <= 0;
    this.#button.textContent = `${left} more ${this.#what}`;
  }

  searched(text: (item: Item) => string): Searched {
    const texts = this.#items.map((item) => text(item).toLowerCase());
    return {
      apply: (matches, active) => {
        this.#wanted = active ? this.#items.filter((_, at) => matches(texts[at] as string)) : this.#items;
        this.#shown = this.#atFirst;
        this.#draw();
        return active ? this.#wanted.length : 0;
      },
    };
  }
}
