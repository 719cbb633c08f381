/** What `diagnose` finds, and what the checks know of the capture. */
import { describeProcess, describeStreamId } from '../model/names.ts';
import type { ClientFlow, SandboxFlow } from '../model/sandbox-flow.ts';
import type { Seen } from '../model/stream-flow.ts';
import { formatClock, formatSpan } from '../words/text.ts';

/** Closed: scripts match on it. docs/debugging.md says what each means. */
export type Cause =
  | 'no_credit'
  | 'exit_waits'
  | 'input_open'
  | 'request_unanswered'
  | 'link_silent'
  | 'guest_silent'
  | 'client_stuck'
  | 'client_gone'
  | 'client_cut_off'
  | 'reconnect_loop'
  | 'vm_lost'
  | 'protocol_violation'
  | 'data_loss'
  | 'taken_over'
  | 'refused'
  | 'terminal_size'
  | 'signal_unheeded';

export interface Finding {
  readonly cause: Cause;
  /** A `hint` may be just as it should be: a shell that waits for input. */
  readonly level: 'problem' | 'hint';
  readonly sandbox: string;
  /** The process that it is about, if it is about one; and the id of its stream. */
  readonly process?: number;
  readonly stream?: number;
  /** What is wrong, in a few words. */
  readonly title: string;
  /** Why, in sentences. */
  readonly text: string;
  /** Numbers of the records that prove it. */
  readonly evidence: readonly number[];
}

export interface CheckContext {
  /** The first record's time. */
  readonly startNs: bigint;
  /** How long the capture has lasted. */
  readonly endNs: number;
  /** What has not moved for so long stands still. */
  readonly stallNs: number;
  /** The capture goes on: its end is now. */
  readonly live?: boolean;
}

export type Check = (flow: SandboxFlow, context: CheckContext) => Iterable<Finding>;

/** Whether it has been so for long enough when the capture ended. */
export function lasts(since: Seen | undefined, { endNs, stallNs }: CheckContext): since is Seen {
  return since !== undefined && endNs - since.timeNs >= stallNs;
}

/** "since 14:03:22.123456, for 4.10 s until the capture ended". */
export function sinceText({ timeNs }: Seen, { startNs, endNs, live = false }: CheckContext): string {
  const until = live ? '' : ' until the capture ended';
  return `since ${formatClock(startNs, timeNs)}, for ${formatSpan(endNs - timeNs)}${until}`;
}

export function numbers(...seen: readonly (Seen | undefined)[]): number[] {
  return [...new Set(seen.flatMap((one) => (one === undefined ? [] : [one.number])))];
}

export function streamText(flow: SandboxFlow, id: number): string {
  return describeStreamId(flow.names, id);
}
export function processText(flow: SandboxFlow, process: number): string {
  return describeProcess(flow.names, process);
}

/** "client 3 (coracle-shim, pid 4711)". */
export function clientText(flow: SandboxFlow, number: number): string {
  const client = flow.clients.get(number);
  return client === undefined ? `client ${number}` : describeClient(client);
}

export function describeClient({ number, pid, program }: ClientFlow): string {
  return pid === 0 ? `client ${number}` : `client ${number} (${program || 'a program'}, pid ${pid})`;
}

/** As the beginning of a sentence. */
export function capital(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

export function grouped(number: number): string {
  return number.toLocaleString('en-US');
}
