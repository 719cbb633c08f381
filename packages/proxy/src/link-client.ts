/** What a link and its routes need of a client. */
import type { Frame, RpcError } from '@coracle/wire';
import type { Holder } from './budget.ts';
import type { DataQueue } from './data-queue.ts';
import type { Link } from './link.ts';

export interface LinkClient extends Holder {
  link: Link | undefined;
  /** Which of the proxy's clients, from 1: what captures call it. */
  readonly number: number;
  /** What this client sends to the agent: control frames, signals and resizes, and everything else. */
  readonly control: DataQueue;
  readonly urgent: DataQueue;
  readonly bulk: DataQueue;
  bound(): void;
  /** Forwards a frame of the agent as it came; `bulk` takes turns, the others overtake. */
  forward(frame: Frame, bulk: boolean): void;
  /** Sends an encoded control frame of the proxy's own. */
  send(frame: Buffer): void;
  close(reason: RpcError): void;
}
