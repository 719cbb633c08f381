/**
 * `run` and `exec` in the foreground: wait for the shim, hand on signals, give the terminal back.
 *
 * Signals. The shim is in another session, so a Ctrl-C reaches this process only, as does `kill PID`. Each is
 * handed on once, as runc does (signals.go there): SIGTSTP too, so Ctrl-Z reaches the container's process and
 * does not stop us; with a terminal in raw mode it is a byte like any other.
 */
import { constants } from 'node:os';
import { kill, makeRaw, restoreTerminal, type SavedTerminal } from '@coracle/sys';
import type { ConsolePlan } from './console.ts';
import type { Shim } from './shim.ts';

/**
 * All that Node lets a program listen for, without those that speak of this very process: SIGCHLD, SIGPIPE,
 * the faults, SIGPROF (V8's), and SIGKILL and SIGSTOP, which nobody can catch.
 */
export const forwardedSignals = [
  'SIGHUP',
  'SIGINT',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGALRM',
  'SIGTERM',
  'SIGCONT',
  'SIGTSTP',
  'SIGTTIN',
  'SIGTTOU',
  'SIGURG',
  'SIGXCPU',
  'SIGXFSZ',
  'SIGVTALRM',
  'SIGWINCH',
  'SIGIO',
  'SIGPWR',
] as const satisfies NodeJS.Signals[];

/**
 * The modes of our terminal before the shim changes them. To find them out it is made raw for an instant; a
 * job in the background is stopped by the kernel for that (SIGTTOU), before it has taken the terminal away
 * from whoever has it.
 */
export function saveTerminal(console: ConsolePlan): SavedTerminal | undefined {
  if (console.kind !== 'ours' || console.terminalFd === undefined) return undefined;
  const saved = makeRaw(console.terminalFd);
  restoreTerminal(console.terminalFd, saved);
  return saved;
}

/**
 * Of these the default would stop us, do nothing, or end us with all undone (interrupts.ts), which is right while
 * there is no process; the others must neither end us nor, as SIGUSR1 does, start Node's debugger.
 */
const ownBefore = new Set<NodeJS.Signals>([
  ...['SIGHUP', 'SIGINT', 'SIGQUIT', 'SIGTERM'],
  ...['SIGCONT', 'SIGTSTP', 'SIGTTIN', 'SIGTTOU', 'SIGWINCH'],
] as NodeJS.Signals[]);

/** Hands every signal on, once there is somebody to hand it to. One that came before is handed on then. */
export class SignalForwarder implements Disposable {
  readonly #early: NodeJS.Signals[] = [];
  #shim: Shim | undefined;

  constructor() {
    for (const name of forwardedSignals) if (!ownBefore.has(name)) process.on(name, this.#forward);
  }

  /** From here on signals are the process's; to be called before it can do anything, or with what came late. */
  to(shim: Shim, late: readonly NodeJS.Signals[] = []): void {
    this.#shim = shim;
    for (const name of ownBefore) process.on(name, this.#forward);
    for (const name of [...this.#early, ...late]) this.#forward(name);
  }

  readonly #forward = (name: NodeJS.Signals): void => {
    if (this.#shim === undefined) this.#early.push(name);
    else kill(this.#shim.identity.pid, constants.signals[name]);
  };

  [Symbol.dispose](): void {
    for (const name of forwardedSignals) process.off(name, this.#forward);
  }
}

/** @returns the exit code as a shell says it: the process's own, or 128 and the signal that ended it */
export async function waitInForeground(
  shim: Shim,
  console: ConsolePlan,
  saved: SavedTerminal | undefined,
): Promise<number> {
  const status = await shim.ended();
  const signal = status & 0x7f;
  // A shim that ended by itself has restored the terminal. One that was killed has not.
  if (signal !== 0) restore(console, saved);
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal;
}

/** Gives the terminal its modes back. */
export function restore(console: ConsolePlan, saved: SavedTerminal | undefined): void {
  if (saved === undefined || console.kind !== 'ours' || console.terminalFd === undefined) return;
  restoreTerminal(console.terminalFd, saved);
}
