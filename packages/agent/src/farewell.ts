import { setTimeout as delay } from 'node:timers/promises';
import type { SessionHost } from './session.ts';

/** A host that reads nothing must not keep a destroyed VM alive. */
const DEADLINE_MS = 2000;

/** Waits until the last answers have left, as far as can be known here. */
export async function answersSent(sessions: SessionHost): Promise<void> {
  const end = performance.now() + DEADLINE_MS;
  // The answer is made by the promise that waits for us: let it come first.
  do await delay(5);
  while (sessions.isOpen && sessions.queuedBytes > 0 && performance.now() < end);
}
