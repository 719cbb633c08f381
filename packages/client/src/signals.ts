/** Signals by name and number, as Linux numbers them (signal(7)). */
import { constants } from 'node:os';
import { RpcError } from '@coracle/wire';

/** A name such as `SIGTERM`, or a number from 1 to 64. */
export type SignalName = NodeJS.Signals | number;

const REAL_TIME_MIN = 34;
const SIGNAL_MAX = 64;

/** Of aliases the first name counts: SIGABRT and not SIGIOT. */
const names = new Map<number, string>();
for (const [name, number] of Object.entries(constants.signals)) {
  if (!names.has(number)) names.set(number, name);
}

/** @throws RpcError invalid_argument for what is no signal */
export function signalNumber(signal: SignalName): number {
  const number = typeof signal === 'string' ? constants.signals[signal] : signal;
  if (number === undefined || !Number.isInteger(number) || number < 1 || number > SIGNAL_MAX) {
    throw new RpcError(
      'invalid_argument',
      `${JSON.stringify(signal)} is no signal: give a name like SIGTERM, or a number from 1 to ${SIGNAL_MAX}`,
    );
  }
  return number;
}

export function signalName(number: number): string {
  const name = names.get(number);
  if (name !== undefined) return name;
  return number >= REAL_TIME_MIN ? `SIGRTMIN+${number - REAL_TIME_MIN}` : `signal ${number}`;
}
