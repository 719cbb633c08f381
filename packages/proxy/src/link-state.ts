/** What `GET /links` of the debug socket tells of one link: numbers, and no payload. */
import type { ClientConnection } from './client-connection.ts';
import type { Link } from './link.ts';
import { programOf } from './program-of.ts';
import type { RecentFrame } from './recent-frames.ts';
import type { StreamState } from './stream-watch.ts';

export interface LinkState {
  readonly sandbox: string;
  readonly open: boolean;
  readonly clients: readonly {
    readonly number: number;
    /** On this host; 0: not known. */
    readonly pid: number;
    readonly program: string;
    /** Bytes that wait in the proxy for it, and its own that wait for the guest. */
    readonly waitsForClientBytes: number;
    readonly waitsForGuestBytes: number;
  }[];
  readonly streams: readonly StreamState[];
  readonly frames: readonly RecentFrame[];
}

export function linkState(link: Link, clients: readonly ClientConnection[]): LinkState {
  return {
    sandbox: link.sandboxId,
    open: link.isOpen,
    clients: clients
      .filter((client) => client.link === link)
      .map(({ number, pid, queuedBytes, inboundBytes }) => ({
        number,
        pid,
        program: programOf(pid),
        waitsForClientBytes: queuedBytes,
        waitsForGuestBytes: inboundBytes,
      })),
    streams: link.watch.describe(),
    frames: link.recent.list(),
  };
}
