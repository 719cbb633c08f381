/** The file of --log, in runc's two formats: engines read its last error and show it to their users. */
import { appendFileSync } from 'node:fs';
import { messageOf } from './errors.ts';
import { printError } from './output.ts';

export type LogFormat = 'text' | 'json';
type Level = 'debug' | 'info' | 'warning' | 'error';

export class Log {
  readonly #path: string | undefined;
  readonly #format: LogFormat;
  readonly #debug: boolean;
  #broken = false;

  constructor(options: { path?: string | undefined; format: LogFormat; debug: boolean }) {
    this.#path = options.path;
    this.#format = options.format;
    this.#debug = options.debug;
  }

  debug(message: string): void {
    if (!this.#debug) return;
    if (this.#path === undefined) printError(formatEntry(this.#format, 'debug', message));
    else this.#append('debug', message);
  }

  /** As runc's: with a log file not on stderr, which is the container's own when an engine calls `create`. */
  warning(message: string): void {
    if (this.#path === undefined) printError(`coracle: warning: ${message}\n`);
    else this.#append('warning', message);
  }

  /** To stderr for people, and to the file for engines. */
  error(message: string): void {
    printError(`coracle: ${message}\n`);
    this.#append('error', message);
  }

  #append(level: Level, message: string): void {
    if (this.#path === undefined || this.#broken) return;
    try {
      appendFileSync(this.#path, formatEntry(this.#format, level, message));
    } catch (error) {
      this.#broken = true;
      printError(`coracle: cannot write the log file ${this.#path}: ${messageOf(error)}\n`);
    }
  }
}

/** One line as logrus, runc's logger, writes it. */
export function formatEntry(format: LogFormat, level: Level, message: string, time = new Date()): string {
  const stamp = `${time.toISOString().slice(0, 19)}Z`;
  if (format === 'json') return `${JSON.stringify({ level, msg: message, time: stamp })}\n`;
  return `time="${stamp}" level=${level} msg=${JSON.stringify(message)}\n`;
}
