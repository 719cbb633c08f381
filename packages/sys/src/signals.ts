/**
 * Signal names and numbers of Linux on x86-64, real-time signals included (signal(7)).
 * Node's table is used for the classic ones; it knows no real-time signals.
 */
import { constants } from 'node:os';

/** glibc keeps 32 and 33 for itself, so SIGRTMIN is 34 for programs. */
export const SIGRTMIN = 34;
export const SIGRTMAX = 64;

const NUMBERS = new Map<string, number>(Object.entries(constants.signals));
// Aliases of SIGABRT and SIGIO must not win when a number is named.
const ALIASES = new Set(['SIGIOT', 'SIGPOLL', 'SIGUNUSED', 'SIGCLD']);
const NAMES = new Map(
  [...NUMBERS].filter(([name]) => !ALIASES.has(name)).map(([name, number]) => [number, name]),
);

/** The name of a signal number: 'SIGTERM', 'SIGRTMIN+3'; the bare number where there is no name. */
export function signalName(number: number): string {
  const name = NAMES.get(number);
  if (name !== undefined) return name;
  if (number === SIGRTMIN) return 'SIGRTMIN';
  if (number > SIGRTMIN && number <= SIGRTMAX) return `SIGRTMIN+${number - SIGRTMIN}`;
  return String(number);
}

function realTimeNumber(name: string): number | undefined {
  const match = /^SIGRT(MIN|MAX)(?:([+-])(\d{1,2}))?$/.exec(name);
  if (match === null) return undefined;
  const base = match[1] === 'MIN' ? SIGRTMIN : SIGRTMAX;
  const offset = Number(match[3] ?? 0);
  const number = match[2] === '-' ? base - offset : base + offset;
  return number >= SIGRTMIN && number <= SIGRTMAX ? number : undefined;
}

/**
 * The number of a signal written as 'TERM', 'SIGTERM', 'sigterm', '15', 15, 'RTMIN+3' or 'SIGRTMAX-1'.
 * @throws RangeError for what is no signal (0 included)
 */
export function parseSignal(text: string | number): number {
  const upper = String(text).trim().toUpperCase();
  if (/^\d{1,3}$/.test(upper)) {
    const number = Number(upper);
    if (number >= 1 && number <= SIGRTMAX) return number;
  } else {
    const name = upper.startsWith('SIG') ? upper : `SIG${upper}`;
    const number = NUMBERS.get(name) ?? realTimeNumber(name);
    if (number !== undefined) return number;
  }
  throw new RangeError(
    `unknown signal "${text}": give a name such as SIGTERM or SIGRTMIN+3, or a number from 1 to 64`,
  );
}
