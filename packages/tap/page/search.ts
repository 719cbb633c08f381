/** One field that narrows everything that lists something. Whoever lists says how to show what matches. */
import { h } from './dom.ts';

export type Matches = (text: string) => boolean;

export interface Searched {
  /** Shows what matches, or all of it; @returns how many match */
  apply(matches: Matches, active: boolean): number;
}

export class Search {
  readonly #parts: Searched[] = [];
  readonly #found = h('output', { class: 'found' });
  readonly #field = h('input', {
    id: 'search',
    label: 'Search',
    attributes: { type: 'search', placeholder: 'Search: web, ExecProcess, no credit …', autocomplete: 'off' },
  });

  constructor() {
    let waiting = 0;
    this.#field.addEventListener('input', () => {
      window.clearTimeout(waiting);
      waiting = window.setTimeout(() => this.#apply(), 80);
    });
    document.addEventListener('keydown', (event) => {
      if (event.key === '/' && !(event.target instanceof HTMLInputElement)) {
        event.preventDefault();
        this.#field.focus();
      } else if (event.key === 'Escape' && document.activeElement === this.#field) {
        this.#field.value = '';
        this.#apply();
      }
    });
  }

  get field(): HTMLElement {
    return h('label', { class: 'search' }, this.#field, h('kbd', {}, '/'), this.#found);
  }

  part(part: Searched): void {
    this.#parts.push(part);
  }

  /** An element that is there or not. */
  element(element: HTMLElement | SVGElement, text: string): void {
    const lower = text.toLowerCase();
    this.part({
      apply: (matches, active) => {
        const shown = matches(lower);
        element.toggleAttribute('hidden', !shown);
        return active && shown ? 1 : 0;
      },
    });
  }

  #apply(): void {
    const words = this.#field.value.toLowerCase().split(/\s+/).filter(Boolean);
    const active = words.length > 0;
    const matches: Matches = (text) => words.every((word) => text.includes(word));
    let found = 0;
    for (const part of this.#parts) found += part.apply(matches, active);
    this.#found.textContent = active ? `${found} found` : '';
    document.documentElement.classList.toggle('searching', active);
  }
}
