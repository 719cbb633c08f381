/**
 * The one place that reaps (docs/processes.md): our own helpers, containers' processes, and orphans.
 * A process may end before its pid is known here, since crun writes the pid to a file: while any start is
 * under way, statuses of unknown pids are kept.
 */
import { type Reaped, reap, type SpawnOptions, spawn } from '@coracle/sys';

export type OnExit = (status: number) => void;

export class Reaper {
  readonly #watched = new Map<number, OnExit>();
  readonly #unclaimed = new Map<number, { readonly status: number; readonly at: number }>();
  /** For each start under way, the count of unclaimed statuses at its beginning; in order of their beginnings. */
  readonly #starts = new Set<{ readonly since: number }>();
  #count = 0;
  readonly #take: () => Reaped[];

  constructor(take: () => Reaped[] = reap) {
    this.#take = take;
  }

  /** From here on every child of this process is reaped here: node:child_process may not be used. */
  begin(): void {
    process.on('SIGCHLD', () => this.reapAll());
    this.reapAll();
  }

  reapAll(): void {
    // All are taken before anybody is told: what is done about one may look whether another still runs.
    for (const { pid, status } of this.#take()) {
      const onExit = this.#watched.get(pid);
      if (onExit !== undefined) {
        this.#watched.delete(pid);
        onExit(status);
      } else if (this.#starts.size > 0) this.#unclaimed.set(pid, { status, at: this.#count++ });
    }
  }

  /** A process whose pid is not known yet is being started: call `watch` before the hold is disposed of. */
  holdUnknown(): Disposable {
    const start = { since: this.#count };
    this.#starts.add(start);
    return {
      [Symbol.dispose]: () => {
        this.#starts.delete(start);
        this.#forget();
      },
    };
  }

  /** Calls `onExit` once with the wait status, at once if the process has ended during a hold. */
  watch(pid: number, onExit: OnExit): void {
    const ended = this.#unclaimed.get(pid);
    if (ended === undefined) {
      this.#watched.set(pid, onExit);
      return;
    }
    this.#unclaimed.delete(pid);
    onExit(ended.status);
  }

  /** What is older than the oldest start is nobody's: where starts overlap without end its pid is given again. */
  #forget(): void {
    const [oldest] = this.#starts;
    for (const [pid, { at }] of this.#unclaimed)
      if (oldest === undefined || at < oldest.since) this.#unclaimed.delete(pid);
  }

  /**
   * Starts a helper program and waits for its end.
   * @param started called with its pid at once
   * @returns the wait status
   */
  run(options: SpawnOptions, started?: (pid: number) => void): Promise<number> {
    const pid = spawn(options);
    started?.(pid);
    return new Promise((resolve) => this.#watched.set(pid, resolve));
  }
}
