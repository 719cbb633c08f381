/** What the kernel's `initcall_debug` says on the console (Documentation/admin-guide/kernel-parameters.txt). */

export interface Initcall {
  readonly name: string;
  readonly microseconds: number;
}

export const initcallArguments = ['initcall_debug', 'ignore_loglevel'];

/** Slowest first. */
export function parseInitcalls(console: string): Initcall[] {
  return [
    ...console.matchAll(/initcall (\w+)(?:\+0x[0-9a-f]+\/0x[0-9a-f]+)? returned -?\d+ after (\d+) usecs/g),
  ]
    .map(([, name, microseconds]) => ({ name: name as string, microseconds: Number(microseconds) }))
    .sort((a, b) => b.microseconds - a.microseconds);
}
