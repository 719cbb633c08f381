/**
 * What a report page is given: aggregated, so that its size does not grow with the capture. Times are milliseconds
 * after the first record. Every text has been through `printable`, and the page sets it as text only.
 */

export interface ReportData {
  /** The capture's name. */
  readonly title: string;
  /** Milliseconds since 1970. */
  readonly startMs: number;
  readonly endMs: number;
  readonly records: number;
  /** Runs of the capturing process. */
  readonly sections: number;
  /** What could not be read, in words. */
  readonly damage: readonly string[];
  readonly total: TotalData;
  readonly findings: readonly FindingData[];
  readonly sandboxes: readonly SandboxData[];
}

/** Bytes of payload by time, over all sandboxes. */
export interface TotalData {
  readonly toAgent: Columns<'bytes'>;
  readonly toClient: Columns<'bytes'>;
}

/** Buckets of one width; those in which nothing happened are left out. */
export type Columns<Name extends string> = {
  readonly widthMs: number;
  /** Where each bucket begins. */
  readonly at: readonly number[];
} & { readonly [Column in Name]: readonly number[] };

export interface FindingData {
  readonly cause: string;
  readonly level: 'problem' | 'hint';
  readonly sandbox: string;
  readonly title: string;
  readonly text: string;
  readonly evidence: readonly { readonly number: number; readonly text: string }[];
}

export interface SandboxData {
  readonly id: string;
  readonly frames: number;
  readonly bytes: number;
  readonly dropped: number;
  readonly lanes: readonly LaneData[];
  /** The first and the last ones, in order. */
  readonly steps: readonly StepData[];
  /** How many are missing, and behind which step. */
  readonly stepsLeftOut: { readonly count: number; readonly behind: number };
  readonly processes: readonly ProcessData[];
  readonly processesLeftOut: number;
  readonly streams: readonly StreamData[];
  readonly streamsLeftOut: number;
  readonly terminals: readonly TerminalData[];
}

/** A participant of the sequence diagram. */
export interface LaneData {
  readonly id: string;
  readonly kind: 'client' | 'agent' | 'process';
  readonly label: string;
  readonly note: string;
}

export type StepKind =
  | 'request'
  | 'answer'
  | 'failure'
  | 'attach'
  | 'data'
  | 'end'
  | 'exit'
  | 'control'
  | 'event';

export interface StepData {
  /** Of its first record. */
  readonly number: number;
  readonly atMs: number;
  /** Of a run of DATA: its last frame. */
  readonly untilMs?: number;
  readonly from: string;
  /** The same as `from`: a note on that lane. */
  readonly to: string;
  readonly kind: StepKind;
  readonly text: string;
  /** Of DATA: stdin, stdout, stderr. */
  readonly stream?: string;
  /** A lane that begins here. */
  readonly makes?: string;
  /** It is not as it should be. */
  readonly bad?: boolean;
}

export interface ProcessData {
  readonly number: number;
  readonly label: string;
  readonly terminal: boolean;
  readonly fromMs: number;
  /** Undefined: it goes on. */
  readonly exitMs: number | undefined;
  readonly exit: string | undefined;
  readonly failed: boolean;
  /** Re-attachments, sizes, signals. */
  readonly marks: readonly { readonly atMs: number; readonly text: string }[];
}

export interface StreamData {
  readonly id: number;
  readonly process: number;
  readonly kind: string;
  readonly label: string;
  readonly state: string;
  readonly frames: number;
  readonly bytes: number;
  readonly repeatedBytes: number;
  /** Times without credit, and how long in all. */
  readonly blocks: number;
  readonly blockedMs: number;
  readonly trips: number;
  readonly tripMs: number;
  readonly longestTripMs: number;
  /** When it had no credit: beginnings and ends; what is close together is one. */
  readonly blocked: readonly (readonly [number, number])[];
  readonly series: Columns<StreamColumn>;
}

/**
 * bytes: sent; most, ahead: not delivered, at most and at the bucket's end; window: what may be under way; trips,
 * tripMs, tripMost: from a byte until it is said to be delivered.
 */
export type StreamColumn = 'bytes' | 'most' | 'ahead' | 'window' | 'trips' | 'tripMs' | 'tripMost';

export interface TerminalData {
  readonly process: number;
  readonly label: string;
  readonly columns: number;
  readonly rows: number;
  /** Undefined: what it printed is not in the capture, or was not asked for. */
  readonly events: readonly TerminalEvent[] | undefined;
  /** Why there are none, or not all. */
  readonly note: string;
}

/** When; `o` output, `r` a new size as "100x30". */
export type TerminalEvent = readonly [number, 'o' | 'r', string];
