/** A link that the guest opens: it connects, and connects again whenever that connection has ended. */
import type { Socket } from 'node:net';
import type { LinkSlot } from './link-slot.ts';

/** Nobody tells the guest that a proxy has come; it looks, at first soon after one was there. */
const AGAIN_AT_FIRST_MS = 10;
const AGAIN_AT_LAST_MS = 250;

/** Never ends. @param connect rejects while nobody listens */
export function keepDialled(connect: () => Promise<Socket>, slot: LinkSlot): void {
  let waitMs = AGAIN_AT_FIRST_MS;
  const attempt = (): void => {
    connect().then(
      (socket) => {
        waitMs = AGAIN_AT_FIRST_MS;
        slot.take(socket, later);
      },
      () => later(),
    );
  };
  const later = (): void => {
    setTimeout(attempt, waitMs);
    waitMs = Math.min(2 * waitMs, AGAIN_AT_LAST_MS);
  };
  attempt();
}
