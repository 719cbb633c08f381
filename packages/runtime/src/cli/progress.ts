/** One status line on a terminal for what takes long, which vanishes when it is done. Elsewhere: nothing. */
import { isatty } from 'node:tty';
import { printError } from './output.ts';

/** What is done sooner than this needs no words. */
const quietMs = 1000;
const refreshMs = 500;

export class Progress {
  readonly #startedMs = performance.now();
  readonly #timer: NodeJS.Timeout | undefined;
  #text: string;
  #shown = false;

  constructor(text: string) {
    this.#text = text;
    if (isatty(2)) this.#timer = setInterval(() => this.#show(), refreshMs).unref();
  }

  update(text: string): void {
    this.#text = text;
  }

  #show(): void {
    const elapsedMs = performance.now() - this.#startedMs;
    if (elapsedMs < quietMs) return;
    printError(`\r\x1b[Kcoracle: ${this.#text}, ${Math.round(elapsedMs / 1000)} s`);
    this.#shown = true;
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    if (this.#shown) printError('\r\x1b[K');
    this.#shown = false;
  }
}
