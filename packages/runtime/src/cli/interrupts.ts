import { constants } from 'node:os';
import { CliError } from './errors.ts';

const names = ['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'] as const satisfies NodeJS.Signals[];

export class Interrupted extends CliError {
  readonly signal: NodeJS.Signals;

  constructor(message: string, signal: NodeJS.Signals) {
    super(message, { exitCode: 128 + constants.signals[signal] });
    this.signal = signal;
  }
}

/**
 * The signals that end a program. While something is being made they abort it, and all that was made is
 * undone before we end with 128 and the signal's number. Once `hold` was called they do nothing here: the
 * container's process gets them (foreground.ts), or what is being undone must be finished.
 */
export class Interrupts {
  readonly #controller = new AbortController();
  #held = false;

  constructor(what: string) {
    const onSignal = (name: NodeJS.Signals) => {
      if (this.#held) return;
      this.#controller.abort(
        new Interrupted(`${what} was interrupted by ${name}; nothing was left behind`, name),
      );
    };
    for (const name of names) process.on(name, onSignal);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Set when it came too late to undo anything: it is the process's then. */
  get late(): NodeJS.Signals[] {
    const { aborted, reason } = this.signal;
    return aborted && reason instanceof Interrupted ? [reason.signal] : [];
  }

  hold(): void {
    this.#held = true;
  }
}
