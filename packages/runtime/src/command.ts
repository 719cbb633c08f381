/** What a command is, and what it is given. */
import type { Log } from './cli/log.ts';
import type { OptionSpecs, OptionValues } from './cli/options.ts';
import type { StateStore } from './container/state.ts';
import type { Settings } from './host/settings.ts';

export interface Context {
  readonly store: StateStore;
  /** Read when a command needs it, so that a wrong variable does not break `coracle version`. */
  readonly settings: Settings;
  readonly log: Log;
  /** --systemd-cgroup: linux.cgroupsPath has systemd's form. */
  readonly systemdCgroup: boolean;
}

export interface Command<S extends OptionSpecs = OptionSpecs> {
  readonly options: S;
  /** Arguments after the flags: how many at least and at most. */
  readonly positionals: readonly [min: number, max: number];
  /** `exec`: what follows the first argument is another program's. */
  readonly stopAtPositional?: boolean;
  /** @returns the exit code; 0 when undefined */
  run(
    values: OptionValues<S>,
    positionals: readonly string[],
    context: Context,
    // biome-ignore lint/suspicious/noConfusingVoidType: commands that always succeed return nothing
  ): Promise<number | void>;
}

/** Keeps the types of the flags together with the function that reads them. */
export function command<const S extends OptionSpecs>(definition: Command<S>): Command {
  return definition as unknown as Command;
}
