/**
 * Logs on the console, one line each, never user data. A serial console is slow under emulation and its
 * writes block, so little is said by default.
 */
import { writeSync } from 'node:fs';

const levels = { error: 0, warn: 1, info: 2, debug: 3 } as const;
export type LogLevel = keyof typeof levels;

let threshold: number = levels.warn;

export function setLogLevel(level: string | undefined): void {
  if (level !== undefined && level in levels) threshold = levels[level as LogLevel];
}

/** Fields are short and name things: ids, numbers, reasons. */
export function log(level: LogLevel, message: string, fields: Record<string, unknown> = {}): void {
  if (levels[level] > threshold) return;
  say(JSON.stringify({ level, message, ...fields }));
}

/** A line that others read: the stages of the boot. */
export function say(line: string): void {
  try {
    writeSync(2, `${line}\n`);
  } catch {
    // A console that is gone or full must not end the containers.
  }
}

export function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
