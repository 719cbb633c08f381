/**
 * The terminal in front of the operator: its other screen, raw, without a cursor, for as long as this object is. On
 * every way out of the process (but SIGKILL) it is given back as it was.
 */
import { writeSync } from 'node:fs';
import { emitKeypressEvents } from 'node:readline';
import type { ReadStream, WriteStream } from 'node:tty';
import type { Screen, Size } from './screen.ts';
import { withoutColours } from './style.ts';

export interface Key {
  /** "up", "return", "f"; what Node's readline calls it, and the character itself where it has no name. */
  readonly name: string;
  readonly ctrl: boolean;
  /** What it writes; '' for keys that write nothing. */
  readonly text: string;
}

export interface TerminalEvents {
  key(key: Key): void;
  /** Its size has changed, or it was away: everything is to be drawn anew. */
  changed(): void;
}

/** Alternate screen, no cursor, no wrapping at the end of a row. */
const ENTER = '\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J';
const LEAVE = '\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l';
const NO_SIZE: Size = { columns: 80, rows: 24 };

export class OperatorTerminal implements Disposable {
  readonly #input: ReadStream;
  readonly #output: WriteStream & { readonly fd: number };
  readonly #events: TerminalEvents;
  readonly #undo = new DisposableStack();
  readonly #style: ((parameters: string) => string) | undefined;
  #shown: Screen | undefined;
  #entered = false;

  constructor(input: ReadStream, output: WriteStream & { readonly fd: number }, events: TerminalEvents) {
    this.#input = input;
    this.#output = output;
    this.#events = events;
    this.#style = process.env.NO_COLOR ? withoutColours : undefined;
    emitKeypressEvents(input);
    this.#on(input, 'keypress', (text: string | undefined, key: { name?: string; ctrl?: boolean }) =>
      this.#key(text, key),
    );
    this.#on(output, 'resize', () => this.#redraw());
    this.#on(process, 'SIGCONT', () => {
      // Whoever stopped it may have changed the terminal's modes.
      this.#entered = false;
      this.#return();
    });
    // Also when the program ends by an error that nobody expects.
    this.#on(process, 'exit', () => this.#leave());
    this.#undo.defer(() => {
      this.#leave();
      input.pause();
    });
    this.#enter();
    input.resume();
  }

  get size(): Size {
    const { columns, rows } = this.#output;
    return columns > 0 && rows > 0 ? { columns, rows } : NO_SIZE;
  }

  /** Shows this; what stands there already is not written again. */
  show(screen: Screen): void {
    const text = screen.changes(this.#shown, this.#style);
    this.#shown = screen;
    // One write, and where terminals know it, one picture (synchronized output).
    if (text !== '') this.#output.write(`\x1b[?2026h${text}\x1b[?2026l`);
  }

  [Symbol.dispose](): void {
    this.#undo.dispose();
  }

  // biome-ignore lint/suspicious/noExplicitAny: each event has arguments of its own
  #on(emitter: NodeJS.EventEmitter, event: string, listener: (...args: any[]) => void): void {
    emitter.on(event, listener);
    this.#undo.defer(() => void emitter.off(event, listener));
  }

  #key(text: string | undefined, { name, ctrl = false }: { name?: string; ctrl?: boolean }): void {
    if (ctrl && name === 'z') this.#suspend();
    else this.#events.key({ name: name ?? text ?? '', ctrl, text: !ctrl && text !== undefined ? text : '' });
  }

  /** As a shell's job; where there is no shell to bring it back, the kernel does not stop it, and it goes on. */
  #suspend(): void {
    this.#leave();
    process.kill(process.pid, 'SIGTSTP');
    setImmediate(() => this.#return());
  }

  #return(): void {
    this.#enter();
    this.#redraw();
  }

  #redraw(): void {
    this.#shown = undefined;
    this.#events.changed();
  }

  #enter(): void {
    if (this.#entered) return;
    this.#entered = true;
    this.#input.setRawMode(true);
    this.#output.write(ENTER);
  }

  #leave(): void {
    if (!this.#entered) return;
    this.#entered = false;
    try {
      // At the process's end nothing is written later.
      writeSync(this.#output.fd, LEAVE);
      this.#input.setRawMode(false);
    } catch {
      // The terminal itself is gone.
    }
  }
}
